"""Runs that test a commit instead of the files as they lie."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kvsync.ci.archive.archive import Archive
from kvsync.ci.box.ability import unable, user_inside
from kvsync.ci.run.parameters import Parameters, Repeat
from kvsync.ci.run.repetition import prepare
from kvsync.ci.run_folder import RunFolder
from kvsync.testing.results.outcome import StageResult
from kvsync.testing.results.verdicts import NotRun
from tasks.workspace import means_the_newest
from tests.pipeline.conftest import ROOT, Pipeline

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

LOOKS = """
    import socket
    from pathlib import Path

    def _has_it(path):
        try:
            return b"canary-of-a-token" in path.read_bytes()
        except OSError:
            return False

    def test_looks_into_every_process():
        \"\"\"It is alone, and finds nothing.\"\"\"
        assert socket.gethostname() == "box"
        assert not [path for path in Path("/proc").glob("[0-9]*/environ") if _has_it(path)]
"""

IDENTITY = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]


def _git(folder: Path, *words: str) -> str:
    argv = ["git", "-C", str(folder), *IDENTITY, *words]
    done = subprocess.run(argv, capture_output=True, check=True)
    return done.stdout.decode().strip()


def _report(pipeline: Pipeline) -> Mapping[str, object]:
    report: Mapping[str, object] = json.loads((pipeline.runs()[-1] / "report.json").read_text())
    return report


def _upstream(folder: Path) -> str:
    """Make a repository of what lies there; returns its first commit."""
    _git(folder, "init", "--quiet", "--initial-branch", "main")
    _git(folder, "add", ".")
    _git(folder, "commit", "--quiet", "--message", "one")
    return _git(folder, "rev-parse", "HEAD")


def _changed_since(repository: Repository) -> tuple[Path, str]:
    """Return a repository whose test was made to fail after its last commit, and that commit."""
    folder = Path(repository(unit=OLD))
    commit = _upstream(folder)
    (folder / "tests/unit/test_unit.py").write_text("def test_new():\n    assert False\n")
    return folder, commit


def _scheduled(pipeline: Pipeline, web_url: str, repository: str) -> Mapping[str, object]:
    """Carry out a run as a schedule starts it, of the repository `repository` on a GitHub at `web_url`."""
    parameters = Parameters(
        stages=("unit",), trigger="schedule", report_dir=pipeline.reports, repository=ROOT, run="r"
    )
    parameters.keep_in(RunFolder(parameters.run_dir))
    ours = {"KVSYNC_CI_GITHUB_REPOSITORY": repository, "KVSYNC_CI_GITHUB_WEB_URL": web_url}
    argv = [sys.executable, "-m", "deployments.process", str(parameters.run_dir)]
    subprocess.run(argv, env={**pipeline.env, **ours}, cwd=ROOT, check=True, timeout=120)
    return _report(pipeline)


def test_a_scheduled_run_tests_the_head_of_the_reference_branch(
    pipeline: Pipeline, repository: Repository
) -> None:
    """Not what is installed; its results are a reference, and another attempt is of the same commit."""
    folder, commit = _changed_since(repository)

    report = _scheduled(pipeline, folder.parent.parent.as_uri(), f"{folder.parent.name}/{folder.name}")

    assert (report["verdict"], report["commit"], report["branch"]) == ("passed", commit, "main")
    with Archive.open("", pipeline.reports) as archive:
        (past,) = archive.series(reference=True)
    assert (past.run, past.commit) == ("r", commit)
    again = prepare(RunFolder(pipeline.runs()[-1]), ["unit"], failed_only=False)
    assert again.source is not None
    assert (again.source.commit, again.source.ref, again.source.trusted) == (commit, "main", True)


def test_a_scheduled_run_without_a_head_tests_nothing_else(pipeline: Pipeline, tmp_path: Path) -> None:
    """A branch that cannot be found is unknown, with what to look at, and no commit was tested."""
    report = _scheduled(pipeline, tmp_path.as_uri(), "owner/name")

    reason = str(report["reason"])
    assert (report["verdict"], report["commit"]) == ("unknown", "")
    assert f"workspace: not run: the head of main of {tmp_path.as_uri()}/owner/name" in reason
    assert "KVSYNC_CI_GITHUB_TOKEN" in reason
    assert "unit: not run: the commit could not be fetched" in reason


def test_another_attempt_is_of_what_the_first_tested(tmp_path: Path) -> None:
    """It means the newest commit only if the first attempt found none; a run by hand never does."""
    scheduled = Parameters(trigger="schedule", report_dir=tmp_path, run="r")
    again = scheduled.model_copy(update={"repeat": Repeat(attempt=2, stages=("unit",))})
    assert [means_the_newest(each) for each in (scheduled, again)] == [True, False]
    assert not means_the_newest(Parameters(report_dir=tmp_path, run="r"))

    RunFolder(tmp_path / "r").save(StageResult.unknown("workspace", "there was no head"))

    assert means_the_newest(again)


def test_the_commit_is_tested_and_not_what_was_changed_since(
    pipeline: Pipeline, repository: Repository
) -> None:
    """The run fetches the commit, reports it with the command that repeats it, and leaves no workspace."""
    folder, commit = _changed_since(repository)

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
    assert f"workspace: not run: {'0' * 40} cannot be fetched from {folder.as_uri()}: fatal" in lines[-1]
    assert "unit: not run: the commit could not be fetched" in lines[-1]


def test_a_fork_is_tested_in_a_box(pipeline: Pipeline, repository: Repository) -> None:
    """From the command to the report; nothing of the box is left."""
    if why := unable(user_inside()):
        raise NotRun(why)
    folder = Path(repository(unit=LOOKS))
    commit = _upstream(folder)
    ours = replace(pipeline, env={**pipeline.env, "KVSYNC_CI_GITHUB_TOKEN": "canary-of-a-token"})

    status, lines = ours("run", "unit", "--source", f"{folder.as_uri()}@{commit}", "--untrusted")

    assert (status, lines[-1]) == (0, "PASSED: 3 stages, 3 checks")
    left = {path.name for path in pipeline.runs()[-1].iterdir()}
    assert not [name for name in left if name.startswith(("box", "workspace"))]


def test_a_commit_with_a_malformed_file_is_unknown(pipeline: Pipeline, tmp_path: Path) -> None:
    """The report says the line and its mend; nothing is run, also when it is repeated."""
    described = '[stages.unit]\nkind = "command"\ncommand = ["true"]\n'
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "stages.toml").write_text(described.replace("kind", "kid"))
    commit = _upstream(tmp_path / "up")

    status, lines = pipeline("run", "--source", f"file://{tmp_path / 'up'}@{commit}")

    assert status == 2
    assert lines[-1].startswith("UNKNOWN: stages: not run: stages.toml: ")
    assert "stages.toml:1: stages.unit: has no kind; give one" in lines[-1]
    assert any(line.startswith("stages.toml:1: stages.unit: has no kind") for line in lines)
    assert (pipeline.runs()[-1] / "stages.toml").exists()
    again, lines = pipeline("rerun", "last")
    assert (again, lines[-1].startswith("UNKNOWN: stages: not run: ")) == (2, True)
