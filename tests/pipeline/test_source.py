"""Runs that test a commit instead of the files as they lie."""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.pipeline.conftest import Pipeline

Repository = Callable[..., str]

pytestmark = pytest.mark.timeout(180)

OLD = """
    import subprocess, sys
    from pathlib import Path

    def test_old():
        \"\"\"Processes that it starts are of the commit, too.\"\"\"
        argv = [sys.executable, "-c", "import sys; print(sys.path)"]
        found = subprocess.check_output(argv, cwd="/", text=True)
        assert str(Path.cwd()) in found
"""

IDENTITY = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]


def _git(folder: Path, *words: str) -> str:
    argv = ["git", "-C", str(folder), *IDENTITY, *words]
    done = subprocess.run(argv, capture_output=True, check=True)
    return done.stdout.decode().strip()


def _report(pipeline: Pipeline) -> Mapping[str, object]:
    report: Mapping[str, object] = json.loads((pipeline.runs()[-1] / "report.json").read_text())
    return report


def test_the_commit_is_tested_and_not_what_was_changed_since(
    pipeline: Pipeline, repository: Repository
) -> None:
    """The run fetches the commit, reports it with the command that repeats it, and leaves no workspace."""
    folder = Path(repository(unit=OLD))
    _git(folder, "init", "--quiet")
    _git(folder, "add", ".")
    _git(folder, "commit", "--quiet", "--message", "one")
    commit = _git(folder, "rev-parse", "HEAD")
    (folder / "tests/unit/test_unit.py").write_text("def test_new():\n    assert False\n")

    status, lines = pipeline("run", "unit", "--source", f"{folder.as_uri()}@{commit}")

    report = _report(pipeline)
    assert (status, lines[-1]) == (0, "PASSED: 3 stages, 3 checks")
    assert report["commit"] == commit
    assert f"--source {folder.as_uri()}@{commit}" in str(report["command"])
    assert not (pipeline.runs()[-1] / "workspace").exists()


def test_a_commit_that_is_not_there_is_unknown_and_said_so(pipeline: Pipeline, tmp_path: Path) -> None:
    """No stage runs on other files than those asked for; git's own words are the reason."""
    folder = tmp_path / "empty"
    folder.mkdir()
    _git(folder, "init", "--quiet")

    status, lines = pipeline("run", "unit", "--source", f"{folder.as_uri()}@{'0' * 40}")

    assert status == 2
    assert f"workspace: not-run: {'0' * 40} cannot be fetched from {folder.as_uri()}: fatal" in lines[-1]
    assert "unit: not run" in lines[-1]
