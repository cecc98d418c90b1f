"""The quarantine and the archive at the end of a run."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.logging import disable_run_logger

from kvsync.ci.archive import Archive
from kvsync.ci.run.judgement import judge
from kvsync.ci.run.parameters import CommitSource, Parameters
from kvsync.ci.run_folder import RunFolder
from kvsync.testing.results.outcome import Check, CheckKind, Outcome, merge
from tasks.archive import archive_report, compared, known_tests

NOW = datetime.now(UTC)


@pytest.fixture
def parameters(tmp_path: Path) -> Parameters:
    """The parameters of a run of the unit stage."""
    return Parameters(run="run-1", stages=("unit",), repository=tmp_path, report_dir=tmp_path / "reports")


def ended(parameters: Parameters, *kinds: CheckKind, quarantine: Sequence[str] = ()) -> None:
    """Leave in the folder of the run what it leaves there: the stage's result, and the quarantine."""
    folder = RunFolder(parameters.run_dir)
    folder.logs.mkdir(parents=True)
    checks = [Check(name=f"t.py::test_{i}", kind=kind, detail="E   why") for i, kind in enumerate(kinds)]
    folder.save(merge("unit", checks, started_at=NOW))
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


def test_a_quarantined_failure_does_not_gate_and_is_shown(parameters: Parameters) -> None:
    """The run passes; verdict, page and JUnit say that a failure was set aside, and by whom."""
    ended(parameters, "failed", "passed", quarantine=ENTRY)

    report = judge(parameters)
    compared(parameters, report, logging.getLogger())

    folder = RunFolder(parameters.run_dir)
    assert report.verdict_line() == "PASSED: 1 stage, 2 checks, 1 of them quarantined"
    assert "by @ana: slow exit (#12)" in folder.page.read_text()
    junit = folder.junit("unit").read_text()
    assert 'type="quarantined"' in junit
    assert "<failure" not in junit


def test_a_broken_quarantine_hides_nothing(parameters: Parameters) -> None:
    """With a quarantine that cannot be read every failure gates, and the report says what is wrong."""
    ended(parameters, "failed", "passed", quarantine=[*ENTRY, 'until = "some day"'])

    report = judge(parameters)

    assert [(stage.name, stage.outcome) for stage in report.stages] == [
        ("unit", Outcome.FAILED),
        ("quarantine", Outcome.UNKNOWN),
    ]
    assert "quarantine[0].until: unknown key" in report.stages[1].reason


def test_a_run_is_compared_and_kept(parameters: Parameters) -> None:
    """What is new is said before the run is part of what later ones are compared with."""
    ended(parameters, "failed", "passed")
    report = judge(parameters)

    with disable_run_logger():
        found = archive_report.fn(parameters, report)

    assert [each.status for each in found.standings] == ["new", "new-test"]
    with Archive.open("", parameters.report_dir) as archive:
        assert [run.run for run in archive.series()] == ["run-1"]


def test_tests_of_the_reference_are_known_to_pull_requests(parameters: Parameters) -> None:
    """What the reference branch ran is known to a run of a pull request; to others nothing is new."""
    branch = CommitSource(url="https://host/a/b", commit="a" * 40, repository="a/b", ref="main")
    on_branch = parameters.model_copy(update={"source": branch})
    proposed = branch.model_copy(update={"pull_request": 7, "ref": "topic"})
    on_request = parameters.model_copy(update={"source": proposed, "run": "run-2"})
    assert known_tests(on_request, "unit") is None
    ended(on_branch, "passed", "failed")
    compared(on_branch, judge(on_branch), logging.getLogger())

    assert known_tests(on_request, "unit") == frozenset(["t.py::test_0", "t.py::test_1"])
    assert known_tests(on_request, "e2e") is None
    assert known_tests(on_branch, "unit") is None


def test_an_archive_that_fails_changes_no_verdict(parameters: Parameters) -> None:
    """Without its archive a run is not compared, and that is all."""
    ended(parameters, "passed")
    report = judge(parameters)
    (parameters.report_dir / "archive.db").mkdir()

    with disable_run_logger():
        found = archive_report.fn(parameters, report)

    assert found.standings == ()
    assert found.status_text("unit") == "not compared: the archive did not answer"
    assert "Not compared: the archive did not answer." in RunFolder(parameters.run_dir).page.read_text()
