"""The quarantine and the archive at the end of a run."""

import logging
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kvsync.ci.archive.archive import Archive
from kvsync.ci.archive.comparison import RunComparison
from kvsync.ci.handover.archiving import Sharing, archive, known_tests, sharing
from kvsync.ci.handover.handover import Handover
from kvsync.ci.project.reading import parse_project
from kvsync.ci.revision import Revision
from kvsync.ci.run.judgement import judge
from kvsync.ci.run.parameters import CommitSource, Parameters
from kvsync.ci.run.run import Installation, Run
from kvsync.ci.settings import GitHubSettings, Settings
from kvsync.testing.results.outcome import Check, CheckKind, Outcome, merge

NOW = datetime.now(UTC)
LOG = logging.getLogger()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of the unit stage."""
    reports = tmp_path / "reports"
    parameters = Parameters(run="run-1", stages=("unit",), repository=tmp_path, report_dir=reports)
    return Run(parameters, Installation(Settings()))


def archived(run: Run) -> RunComparison:
    """Judge a run, and take the first step of its road."""
    comparison = archive(Handover(run=run, report=judge(run)), LOG).comparison
    assert comparison
    return comparison


def ended(run: Run, *kinds: CheckKind, quarantine: Sequence[str] = (), stage: str = "unit") -> None:
    """Leave in the folder of the run what it leaves there: the stage's result, and the quarantine."""
    folder = run.folder
    folder.logs.mkdir(parents=True, exist_ok=True)
    checks = [Check(name=f"t.py::test_{i}", kind=kind, detail="E   why") for i, kind in enumerate(kinds)]
    folder.save(merge(stage, checks, started_at=NOW))
    (folder.path / "quarantine.toml").write_text("\n".join(quarantine))


ENTRY = (
    "[[quarantine]]",
    'test = "t.py::test_0"',
    'owner = "@ana"',
    'reason = "slow exit"',
    'issue = "#12"',
    f"added = {NOW.date()}",
    f"expires = {NOW.date() + timedelta(days=14)}",
)


def test_a_quarantined_failure_does_not_gate_and_is_shown(run: Run) -> None:
    """The run passes; verdict, page and JUnit say that a failure was set aside, and by whom."""
    ended(run, "failed", "passed", quarantine=ENTRY)

    report = judge(run)
    archive(Handover(run=run, report=report), LOG)

    folder = run.folder
    assert report.verdict_line() == "PASSED: 1 stage, 2 checks, 1 of them quarantined"
    assert "by @ana: slow exit (#12)" in folder.page.read_text()
    junit = folder.junit("unit").read_text()
    assert 'type="quarantined"' in junit
    assert "<failure" not in junit


def test_a_broken_quarantine_hides_nothing(run: Run) -> None:
    """With a quarantine that cannot be read every failure gates, and the report says what is wrong."""
    ended(run, "failed", "passed", quarantine=[*ENTRY, 'until = "some day"'])

    report = judge(run)

    assert [(stage.name, stage.outcome) for stage in report.stages] == [
        ("unit", Outcome.FAILED),
        ("quarantine", Outcome.UNKNOWN),
    ]
    assert "quarantine[0].until: unknown key" in report.stages[1].reason
    assert report.verdict_line().startswith("FAILED: unit: 1 of 2 failed")
    assert "quarantine[0].until: unknown key" in report.verdict_line()


def test_a_run_is_compared_and_kept(run: Run) -> None:
    """What is new is said before the run is part of what later ones are compared with."""
    ended(run, "failed", "passed")
    found = archived(run)

    assert [each.status for each in found.standings] == ["new", "new-test"]
    with Archive.open("", run.parameters.report_dir) as opened:
        assert [past.run for past in opened.series()] == ["run-1"]


def test_a_folder_is_never_taken_for_the_pipelines_own_repository(run: Run) -> None:
    """A clean run of some folder is kept under its own name, and is no reference of another repository."""
    own = Installation(Settings(github=GitHubSettings(repository="me/gw")))
    ended(run, "passed")
    archived(replace(run, installation=own))

    with Archive.open("", run.parameters.report_dir) as opened:
        assert [past.scope.repository for past in opened.series()] == [str(run.parameters.repository)]


def test_tests_of_the_reference_are_known_to_pull_requests(run: Run) -> None:
    """What the reference branch ran is known to a run of a pull request; to others nothing is new."""
    branch = CommitSource(url="https://host/a/b", commit="a" * 40, repository="a/b", ref="main")
    proposed = branch.model_copy(update={"pull_request": 7, "ref": "topic"})
    on_branch, on_request = (
        replace(run, parameters=run.parameters.model_copy(update={"source": source, "run": name}))
        for name, source in (("run-1", branch), ("run-2", proposed))
    )
    assert known_tests(on_request, "unit", LOG) is None
    ended(on_branch, "passed", "failed")
    archived(on_branch)

    assert known_tests(on_request, "unit", LOG) == frozenset(["t.py::test_0", "t.py::test_1"])
    assert known_tests(on_request, "e2e", LOG) is None
    assert known_tests(on_branch, "unit", LOG) is None


def test_shards_look_at_what_ran_before_the_commit(run: Run) -> None:
    """So that runs at one commit share its tests alike; with changes that are not committed, at all runs."""
    repository = run.parameters.repository
    past = f"GIT_COMMITTER_DATE={(NOW - timedelta(hours=1)).isoformat()}"
    git = ["env", past, "git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True, timeout=20)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True, timeout=20)
    project = parse_project('[stages.unit]\nkind = "pytest"\nfolder = "t"\nshards = 2')
    one, two = (replace(run, parameters=_part(run, stage), project=project) for stage in ("unit-1", "unit-2"))
    commit = Revision("c" * 40, branch="main")
    for each in (one, two):
        each.folder.path.mkdir(parents=True)
        each.folder.keep_revision(commit)
    ended(one, "passed", stage="unit-1")
    archived(one)
    clean = sharing(two, "unit-2", LOG)
    two.folder.keep_revision(replace(commit, dirty=True))
    changed = sharing(two, "unit-2", LOG)

    assert clean == Sharing(elsewhere={"unit-1": frozenset({"t.py::test_0"})})
    assert (list(changed.durations_s), changed.elsewhere) == (["t.py::test_0"], {})
    assert sharing(run, "unit", LOG) == Sharing()


def _part(run: Run, stage: str) -> Parameters:
    return run.parameters.model_copy(update={"stages": (stage,), "run": f"run-{stage}"})


def test_an_archive_that_fails_changes_no_verdict(run: Run) -> None:
    """Without its archive a run is not compared, and that is all."""
    ended(run, "passed")
    (run.parameters.report_dir / "archive.db").mkdir()

    found = archived(run)

    assert found.standings == ()
    assert found.status_text("unit") == "not compared: the archive did not answer"
    assert "Not compared: the archive did not answer." in run.folder.page.read_text()
