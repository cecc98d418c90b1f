"""What another attempt at a run repeats, and whether it is of the same code."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kvsync.ci.cleaning.launcher import LAUNCHER
from kvsync.ci.report.report import Report
from kvsync.ci.revision import Revision
from kvsync.ci.run.parameters import Parameters, Repeat
from kvsync.ci.run.repetition import difference, prepare, stages_lately, to_repeat
from kvsync.ci.run_folder import RunFolder, find_run
from kvsync.errors import ConfigError, UnknownName
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.living import facts_of
from kvsync.testing.results.outcome import Check, CheckKind, merge

AT = datetime(2026, 11, 20, tzinfo=UTC)
GIVEN = Parameters(stages=("unit", "e2e", "chaos"), run="r1")


def report(commit: str = "", **stages: CheckKind) -> Report:
    """Return the report of a run whose stages ended like this."""
    return Report(
        run="r1",
        started_at=AT,
        duration_s=1.0,
        command="",
        stages=[merge(name, [Check(name="t", kind=kind)], started_at=AT) for name, kind in stages.items()],
        parameters={},
        commit=commit,
        versions={},
        machine={},
    )


def started(folder: Path, parameters: Parameters = GIVEN) -> RunFolder:
    """Return the folder of a run that was asked for."""
    run = RunFolder(folder / "r1")
    run.path.mkdir(parents=True)
    run.parameters.write_text(parameters.model_dump_json())
    return run


def test_stages_that_did_not_pass() -> None:
    """They are repeated in the order of the run, with those that never had a result."""
    assert to_repeat(GIVEN, report(unit="passed", e2e="failed"), ()) == ("e2e", "chaos")
    assert to_repeat(GIVEN, report(unit="flaky", e2e="passed", chaos="void"), ()) == ("chaos",)
    assert to_repeat(GIVEN, None, ()) == ("unit", "e2e", "chaos")


def test_stages_that_are_asked_for() -> None:
    """They are repeated though they passed; the run must have them."""
    passed = report(unit="passed", e2e="passed", chaos="passed")

    assert to_repeat(GIVEN, passed, ["chaos", "unit"]) == ("unit", "chaos")
    with pytest.raises(ConfigError, match="every stage passed; name one to repeat with --stage"):
        to_repeat(GIVEN, passed, ())
    with pytest.raises(UnknownName, match="unknown stage of the run 'property'; valid: unit, e2e, chaos"):
        to_repeat(GIVEN, passed, ["property"])


@pytest.mark.parametrize(
    ("tested", "now", "named"),
    [
        (Revision("a" * 40), Revision("a" * 40), ""),
        (Revision("a" * 40), Revision("b" * 40), "bbbbbbbbbb"),
        (
            Revision("a" * 40, dirty=True),
            Revision("a" * 40, dirty=True),
            "aaaaaaaaaa with uncommitted changes",
        ),
        (Revision("a" * 40, dirty=True), Revision("a" * 40), "aaaaaaaaaa"),
        (Revision(), Revision(), "unknown"),
    ],
    ids=["same", "other", "uncommitted", "cleaned", "no git"],
)
def test_code(tested: Revision, now: Revision, named: str) -> None:
    """Only a commit without changes is known to be the same."""
    assert difference(tested, now) == named


def test_parameters_of_the_next_attempt(tmp_path: Path) -> None:
    """They are the run's own, wherever its folder lies now, and count the attempts."""
    folder = started(tmp_path)
    report(unit="passed", e2e="failed").write(folder.report)

    second = prepare(folder, (), failed_only=True)
    folder.parameters.write_text(second.model_dump_json())
    third = prepare(folder, ["unit"], failed_only=False)

    assert (second.run_dir, second.stages, second.due) == (folder.path, GIVEN.stages, ("e2e", "chaos"))
    assert second.repeat is not None
    assert (second.repeat.attempt, second.repeat.failed_only) == (2, True)
    assert third.repeat is not None
    assert (third.repeat.attempt, third.due, third.title) == (3, ("unit",), "manual r1 attempt 3")


def test_a_run_that_is_going_on(tmp_path: Path) -> None:
    """It is not repeated while the process that started it is alive."""
    folder = started(tmp_path)
    ledger = Ledger(folder.ledger)
    ledger.created(ledger.intend(LAUNCHER, "kvsync-ci run"), **facts_of(os.getpid()))

    with pytest.raises(ConfigError, match="still going on"):
        prepare(folder, (), failed_only=False)


@pytest.mark.parametrize("text", ["", "{", '{"seed": "x"}'], ids=["empty", "torn", "other"])
def test_parameters_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    """It is said of which file, and what to do."""
    folder = started(tmp_path)
    folder.parameters.write_text(text)

    with pytest.raises(
        ConfigError, match=r"r1/parameters.json: 1 problem.*\n.*start another run with: kvsync-ci"
    ):
        prepare(folder, (), failed_only=False)


def test_the_code_of_the_next_attempt(tmp_path: Path) -> None:
    """It is held against the code that the run began with, also where no report came of that."""
    no_checkout = Path("/")
    folder = started(tmp_path, GIVEN.model_copy(update={"repository": no_checkout}))
    folder.keep_revision(Revision("a" * 40))

    again = prepare(folder, (), failed_only=False)

    assert again.repeat is not None
    assert (again.due, again.repeat.other_code) == (GIVEN.stages, "unknown")


def test_finding_a_run(tmp_path: Path) -> None:
    """A run is found by its id, or as the last one."""
    folder = started(tmp_path)

    assert find_run(tmp_path, "r1").path == folder.path
    assert find_run(tmp_path, "last").path == folder.path
    with pytest.raises(UnknownName, match="unknown run 'r2'; valid: r1, last"):
        find_run(tmp_path, "r2")
    with pytest.raises(ConfigError, match="there is no run; start one with: kvsync-ci run"):
        find_run(tmp_path / "r1", "last")


def test_reports_of_attempts(tmp_path: Path) -> None:
    """Room for another attempt costs no report; the first one stays the first, past the tenth, too."""
    folder = started(tmp_path)
    for number in range(11):
        report(f"{number}").write(folder.report)
        folder.make_room()

    assert [Report.read(path).commit for path in folder.earlier] == [str(number) for number in range(11)]
    assert not folder.report.exists()


def test_the_stages_of_a_repository_are_those_of_its_newest_run(tmp_path: Path) -> None:
    """For statuses of a commit that needs no run; what cannot be read does not count."""
    source = {"url": "https://github.com/o/n", "commit": "a" * 40, "repository": "o/n"}
    runs: list[dict[str, object]] = [
        {"stages": ["old"]},
        {"stages": ["unit", "go"]},
        {"stages": ["push"], "trigger": "push"},
        {"stages": ["other"], "source": {**source, "repository": "o/m"}},
        {"stages": []},
    ]
    for number, changes in enumerate(runs):
        given = {"trigger": "pull-request", "source": source, **changes}
        (tmp_path / f"2026-{number}").mkdir()
        Parameters.checked(**given).keep_in(RunFolder(tmp_path / f"2026-{number}"))
    (tmp_path / "2027").mkdir()
    (tmp_path / "2027" / "parameters.json").write_text("{")

    assert stages_lately(tmp_path, "o/n", "pull-request") == ["unit", "go"]
    assert stages_lately(tmp_path, "o/x", "pull-request") == []


def test_a_run_that_never_knew_its_stages_is_repeated_whole(tmp_path: Path) -> None:
    """Its commit could not be fetched, or its file was malformed."""
    unknown = Parameters(run="r1")

    assert to_repeat(unknown, report(stages="void"), ()) == ()
    assert unknown.model_copy(update={"repeat": Repeat(attempt=2, stages=())}).due == ()
