"""A run that GitHub hears nothing of, from beginning to end: it goes on, and says once what to mend."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kvsync.ci.handover.github import announce, report_stage, report_start, tell_github
from kvsync.ci.handover.handover import Handover
from kvsync.ci.notify.github_double import FakeGitHub
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import CommitSource, Parameters
from kvsync.ci.run.run import Installation, Run
from kvsync.testing.results.outcome import Check, merge
from tests.integration.ci.notify.conftest import REPOSITORY

AT = datetime(2026, 11, 20, 3, tzinfo=UTC)
LOG = logging.getLogger("run")


def report_to(double: FakeGitHub, reports: Path, token: str) -> None:
    """Say everything that a run of a pull request says on its way."""
    source = {"url": f"https://github.com/{REPOSITORY}.git", "commit": "c" * 40, "repository": REPOSITORY}
    parameters = Parameters(
        stages=("unit",),
        source=CommitSource.model_validate({**source, "pull_request": 7}),
        trigger="pull-request",
        report_dir=reports,
        run="20261120-030000-aaaa",
    )
    access = {"KVSYNC_CI_GITHUB_API_URL": double.url, "KVSYNC_CI_GITHUB_TOKEN": token}
    run = Run(parameters, Installation.of(access))
    run.folder.path.mkdir(parents=True)
    passed = merge("unit", [Check(name="a", kind="passed")], started_at=AT)
    announce(run, LOG)
    report_start(run, "unit", LOG)
    report_stage(run, passed, LOG)
    report = Report(
        run=parameters.run,
        started_at=AT,
        duration_s=1.0,
        command="kvsync-ci run",
        stages=(passed,),
        parameters=parameters.model_dump(mode="json"),
        versions={},
        machine={},
    )
    tell_github(Handover(run=run, report=report), LOG)


def test_without_a_token_nothing_is_sent(
    double: FakeGitHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so once."""
    report_to(double, tmp_path / "reports", "")

    assert double.requests == []
    assert caplog.text.count("nothing is sent to GitHub") == 1


def test_with_a_refused_token_the_run_goes_on(
    double: FakeGitHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The mend is in the log, the token is not, and GitHub has nothing."""
    with caplog.at_level(logging.DEBUG):
        report_to(double, tmp_path / "reports", "ghp_wrongAndPrivate")

    assert "put a token that is valid into KVSYNC_CI_GITHUB_TOKEN" in caplog.text
    assert "ghp_wrongAndPrivate" not in caplog.text
    assert [*double.statuses, *double.comments] == []
