"""A run is repeated and judged again, as users do it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from junitparser import JUnitXml

from kvsync.ci.archive.archive import Archive
from kvsync.testing.results.outcome import Outcome
from tests.pipeline.conftest import Pipeline

pytestmark = pytest.mark.timeout(180)

UNIT = """
    from pathlib import Path

    def test_good():
        assert not Path("mended").exists(), "repeated"

    def test_bad():
        assert Path("mended").exists(), "not mended"
"""
GOOD = "def test_good():\n    pass\n"
GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]


def committed(repository: str) -> Path:
    """Make a repository one of git, with one commit of all that is in it."""
    folder = Path(repository)
    (folder / ".gitignore").write_text("__pycache__/\nmended\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "tests"]):
        subprocess.run([*GIT, *words], cwd=folder, check=True, timeout=20)
    return folder


def test_repeated_and_judged_again(pipeline: Pipeline, repository: Callable[..., str]) -> None:
    """What failed is repeated in its folder, its report has both attempts, and a recheck agrees with it."""
    folder = committed(repository(unit=UNIT, property=GOOD))
    assert pipeline("run", "unit", "property", "--repository", str(folder))[0] == 1
    (run,) = pipeline.runs()
    log = (run / "logs" / "unit.log").read_bytes()
    (folder / "mended").touch()

    status, lines = pipeline("rerun", "last", "--failed")

    assert status == 0
    assert lines[0].startswith(f"repository {folder} at ")
    assert lines[1].startswith(f"run {run.name}, attempt 2 of ")
    assert lines[1].endswith(": unit (quick, local)")
    assert lines[-1] == "PASSED: 3 stages, 4 checks"
    report = json.loads((run / "report.json").read_text())
    unit = {check["name"].rpartition("::")[2]: check for check in report["stages"][0]["checks"]}
    assert {name: check["kind"] for name, check in unit.items()} == {
        "test_good": "passed",
        "test_bad": "flaky",
    }
    assert "not mended" in unit["test_bad"]["attempts"][0]["detail"]
    assert json.loads((run / "report-1.json").read_text())["verdict"] == "failed"
    assert (run / "logs" / "unit.log").read_bytes() == log
    assert "1 passed, 1 deselected" in (run / "logs" / "unit-2.log").read_text()
    assert [len(suite) for suite in JUnitXml.fromfile(str(run / "junit" / "prow" / "unit.xml"))] == [3]
    assert pipeline.runs() == [run]

    status, lines = pipeline("recheck", "last")
    assert (status, lines[0]) == (0, "judged again: nothing but how tests ended; 0 changed")
    assert (run / "report-rechecked.html").exists()


COMMITTING = """
    import subprocess

    def test_bad():
        user = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        argv = ["git", *user, "commit", "-q", "--allow-empty", "-m", "meanwhile"]
        subprocess.run(argv, check=True, timeout=20)
        assert False, "not mended"
"""


def test_the_code_that_a_run_is_of(pipeline: Pipeline, repository: Callable[..., str]) -> None:
    """A run is of the commit that it began with; one that other code mended is of none."""
    folder = committed(repository(unit=COMMITTING))
    commit = _head(folder)
    assert pipeline("run", "unit", "--repository", str(folder))[0] == 1
    assert _head(folder) != commit
    (run,) = pipeline.runs()
    report = json.loads((run / "report.json").read_text())
    assert (report["commit"], report["dirty"]) == (commit, False)
    (folder / "tests" / "unit" / "test_unit.py").write_text("def test_bad(): pass\n")

    assert pipeline("rerun", "last", "--failed")[0] == 0

    with Archive.open("", pipeline.reports) as archive:
        (kept,) = archive.series()
    assert (kept.commit, kept.verdict, kept.dirty) == (commit, Outcome.PASSED, True)


def _head(repository: Path) -> str:
    argv = ["git", "-C", str(repository), "rev-parse", "HEAD"]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
