"""A stage of a real repository whose test writes down all that it was given."""

import json
import os
import threading
from pathlib import Path

import pytest

from kvsync.ci.stages.environment import stage_environment
from kvsync.ci.stages.pytest_stage import PytestStage
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.processes.ledger import RUN_VARIABLE, Ledger
from kvsync.testing.results.outcome import Outcome

PLANTED = {
    name: f"planted-{name}"
    for name in (
        "KVSYNC_CI_GITHUB_TOKEN",
        "KVSYNC_CI_WEBHOOK_SECRET",
        "KVSYNC_CI_NOTIFY_URLS",
        "KVSYNC_CI_ARCHIVE_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "PREFECT_API_AUTH_STRING",
        "PREFECT_API_KEY",
    )
} | {"PREFECT_API_DATABASE_CONNECTION_URL": "postgresql://ci:planted-password@db/prefect"}


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "fork"])
def test_the_tests_of_a_stage_see_no_secret(tmp_path: Path, *, trusted: bool) -> None:
    """They run as they did, with the mark of their run, and only a trusted one knows of our cluster."""
    seen = tmp_path / "seen.json"
    folder = tmp_path / "repository" / "tests" / "unit"
    folder.mkdir(parents=True)
    (folder / "test_unit.py").write_text(
        "import json, os, pathlib\n"
        f"def test_dump(): pathlib.Path({str(seen)!r}).write_text(json.dumps(dict(os.environ)))\n"
    )
    environ = {**os.environ, **PLANTED, "KUBECONFIG": "/somewhere"}
    context = StageContext(
        run_dir=tmp_path / "run-1",
        repository=tmp_path / "repository",
        ledger=Ledger(tmp_path / "run-1" / "ledger.jsonl", run="run-1"),
        environ=stage_environment(environ, trusted=trusted),
        stop=threading.Event(),
    )

    result = run_safely(PytestStage("unit", "tests/unit", 30), context)

    assert result.outcome is Outcome.PASSED
    given = json.loads(seen.read_text())
    assert "planted-" not in seen.read_text()
    assert given[RUN_VARIABLE] == "run-1"
    assert ("KUBECONFIG" in given) is trusted
