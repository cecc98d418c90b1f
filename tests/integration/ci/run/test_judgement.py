"""The report that is made of the folder of a run."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kvsync.ci.report.owners import owners_of
from kvsync.ci.report.report import Report
from kvsync.ci.revision import Revision
from kvsync.ci.run.judgement import judge
from kvsync.ci.run.parameters import REPOSITORY, CommitSource, Parameters, Repeat
from kvsync.ci.run.run import Installation, Run
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.settings import Settings
from kvsync.testing.results.outcome import Check, Outcome, merge

HERE = Installation(Settings())
LONG_AGO = datetime.now(UTC) - timedelta(days=93)


@pytest.fixture
def parameters(tmp_path: Path) -> Parameters:
    """The parameters of a run of the unit stage of this repository."""
    return Parameters(run="run-1", stages=("unit",), repository=REPOSITORY, report_dir=tmp_path)


@pytest.fixture
def folder(parameters: Parameters) -> RunFolder:
    """The folder of the run, in which the stage passed long ago."""
    folder = RunFolder(parameters.run_dir)
    folder.save(merge("unit", [Check(name="t.py::test_a", kind="passed")], started_at=LONG_AGO))
    return folder


def test_the_code_is_that_of_the_start(parameters: Parameters, folder: RunFolder) -> None:
    """What the repository is when the run is judged does not matter, also at another attempt."""
    folder.keep_revision(Revision("a" * 40, dirty=True, branch="topic"))
    repeat = Repeat(attempt=2, stages=("unit",), other_code="bbbbbbbbbb")

    for each in (parameters, parameters.model_copy(update={"repeat": repeat})):
        report = judge(Run(each, HERE))

        assert (report.commit, report.dirty, report.branch) == ("a" * 40, True, "topic")


@pytest.mark.usefixtures("folder")
def test_the_code_of_a_run_that_died_before_it_began(parameters: Parameters) -> None:
    """It is not known, but for a commit that was asked for."""
    source = CommitSource(url="https://host/a/b", commit="b" * 40, ref="topic")

    unknown = judge(Run(parameters, HERE))
    asked = judge(Run(parameters.model_copy(update={"source": source}), HERE))

    assert (unknown.commit, unknown.dirty, unknown.branch) == ("", False, "")
    assert (asked.commit, asked.dirty, asked.branch) == ("b" * 40, False, "topic")


@pytest.mark.usefixtures("folder")
def test_a_report_says_when_it_was_made(parameters: Parameters) -> None:
    """A run that is repeated began long ago and ends now."""
    before = datetime.now(UTC)

    report = judge(Run(parameters, HERE))

    assert report.started_at == LONG_AGO
    assert report.ended_at is not None
    assert before <= report.ended_at <= datetime.now(UTC)


def test_failures_name_their_owners(parameters: Parameters, folder: RunFolder) -> None:
    """By the CODEOWNERS file that the run kept; in report.json, too."""
    checks = [Check(name="tests/a.py::test_a", kind="failed"), Check(name="other.py::test_b", kind="failed")]
    folder.save(merge("unit", checks, started_at=LONG_AGO))
    (folder.path / "CODEOWNERS").write_text("/tests/ @me/gw\n")

    judge(Run(parameters, HERE))

    (stage,) = Report.read(folder.report).stages
    assert [owners_of(check) for check in stage.checks] == ["@me/gw", ""]


def test_a_result_that_cannot_be_read(parameters: Parameters, folder: RunFolder) -> None:
    """Its stage is unknown with the reason, and the report is made all the same."""
    (folder.path / "results" / "unit.json").write_text("")

    report = judge(Run(parameters, HERE))

    assert report.verdict is Outcome.UNKNOWN
    assert report.reason.startswith("unit: its result cannot be read: ")
    assert folder.report.exists()
