"""A run of the past, for tests that change what they are about."""

from datetime import UTC, datetime

from kvsync.ci.archive.records import PastRun, RunScope
from kvsync.testing.results.outcome import Outcome

RUN = PastRun(
    run="run-0",
    started_at=datetime(2026, 11, 1, tzinfo=UTC),
    duration_s=10.0,
    scope=RunScope(repository="me/gw", profile="quick", cluster="local"),
    commit="abc",
    branch="main",
    pull_request=None,
    trigger="manual",
    dirty=False,
    verdict=Outcome.PASSED,
    reason="",
    stages=(),
)
