"""`kvsync-ci history` and `kvsync-ci flaky`: what they say of the runs so far."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from kvsync.ci.archive.archive import Archive
from kvsync.ci.archive.database import ArchiveError
from kvsync.ci.report.report import Report
from kvsync.testing.results.measurement import Measurement

MakeReport = Callable[..., Report]
Command = Callable[..., list[str]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run `kvsync-ci` on the reports of the test; returns the lines it printed, without runs of spaces."""

    def run(*words: str) -> list[str]:
        result = CliRunner().invoke(app, [*words, "--report-dir", str(tmp_path)], catch_exceptions=False)
        assert result.exit_code == 0
        return [" ".join(line.split()) for line in result.stdout.splitlines()]

    return run


@pytest.fixture
def recorded(tmp_path: Path, make_report: MakeReport) -> list[Report]:
    """Four runs of two tests: a changes sides, b fails since the second."""
    reports = [make_report(day, unit=letters) for day, letters in enumerate(["PP", "FF", "PF", "FF"])]
    reports += [make_report(9, e2e="P", branch="[red]topic", dirty=True)]
    with Archive.open("", tmp_path) as archive:
        for report in reports:
            archive.record(report)
    return reports


def test_without_runs(command: Command, tmp_path: Path) -> None:
    """An archive with nothing in it says how to begin, and not that all is well."""
    Archive.open("", tmp_path).close()

    assert command("history") == ["no run is in the archive; start one with: kvsync-ci run"]
    assert command("history", "--stage", "x") == ["no run with a stage 'x' is in the archive"]
    assert command("history", "--test", "x") == ["no such test is in the archive"]
    assert command("flaky") == ["no run is in the archive; start one with: kvsync-ci run"]
    assert json.loads("".join(command("history", "--json"))) == []


@pytest.mark.parametrize("words", [("history",), ("history", "--json"), ("flaky",), ("stale",)], ids=" ".join)
def test_a_folder_without_an_archive(words: Sequence[str], tmp_path: Path) -> None:
    """Reading where no run ever was says so, and makes nothing there."""
    folder = tmp_path / "mistyped"

    with pytest.raises(ArchiveError, match=f"no run in {folder}: it has no archive.db"):
        CliRunner().invoke(app, [*words, "--report-dir", str(folder)], catch_exceptions=False)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("trigger", "hours", "status", "said"),
    [
        ("manual", 1, 2, "no scheduled run is in the archive, so nothing says that the schedule is alive"),
        ("schedule", 1, 0, "the schedule is alive: its last run began "),
        ("schedule", 50, 1, "kvsync-ci: no scheduled run for 50 hours"),
    ],
    ids=["never", "alive", "silent"],
)
def test_stale(
    trigger: str, hours: int, status: int, said: str, tmp_path: Path, make_report: MakeReport
) -> None:
    """A schedule that never ran anything is unknown, and its exit status is not that of one that is alive."""
    report = make_report(1, unit="P")
    began = datetime.now(UTC) - timedelta(hours=hours, minutes=1)
    asked = {**report.parameters, "trigger": trigger}
    with Archive.open("", tmp_path) as archive:
        archive.record(replace(report, started_at=began, parameters=asked))

    result = CliRunner().invoke(app, ["stale", "--report-dir", str(tmp_path)], catch_exceptions=False)

    assert result.exit_code == status
    assert (result.stdout or result.stderr).startswith(said)


@pytest.mark.usefixtures("recorded")
def test_runs(command: Command) -> None:
    """Runs are listed from the newest on; a branch's name is text, whatever is in it."""
    lines = command("history", "--limit", "2")

    said = "".join(lines).replace(" ", "")
    assert lines[0] == "run commit of profile verdict stages"
    assert [line.split()[0] for line in lines if line.startswith("run-")] == ["run-9", "run-3"]
    assert "run-9commit-9*/somewhere/kv" in said
    assert "[red]topic" in said


@pytest.mark.usefixtures("recorded")
def test_runs_with_a_stage(command: Command) -> None:
    """With a stage there are its time and its counts."""
    lines = " ".join(command("history", "--stage", "unit"))

    assert "run-9" not in lines
    assert "unit 13 s: 2" in lines
    found = json.loads("".join(command("history", "--stage", "unit", "--limit", "1", "--json")))
    assert [(run["run"], run["commit"], run["stages"]) for run in found] == [
        ("run-3", "commit-3", {"unit": {"outcome": "failed", "duration_s": 13.0, "counts": {"failed": 2}}})
    ]


@pytest.mark.usefixtures("recorded")
def test_a_test(command: Command) -> None:
    """Of a test there is the row of its endings, the newest last, and the first commit that failed."""
    assert command("history", "--test", "unit/t.py::test_b") == [
        "tests/unit/t.py::test_b (/somewhere/kvsync, quick, local)",
        "✓✗✗✗ failing, failed in 3 of 4 (30% to 95%), failing since run run-1, commit commit-1",
    ]
    (found,) = json.loads("".join(command("history", "--test", "test_b", "--json")))
    assert found["failing_since"] == {
        "run": "run-1",
        "commit": "commit-1",
        "at": "2026-11-02T03:00:00+00:00",
    }
    assert [each["kind"] for each in found["endings"]] == ["passed", "failed", "failed", "failed"]


def test_a_test_of_a_dirty_run(tmp_path: Path, make_report: MakeReport, command: Command) -> None:
    """What `history` lists, `history --test` finds; it proves nothing of the commit that it was not of."""
    with Archive.open("", tmp_path) as archive:
        archive.record(replace(make_report(1, unit="F"), dirty=True))

    (found,) = json.loads("".join(command("history", "--test", "test_a", "--json")))
    assert [(each["kind"], each["commit"]) for each in found["endings"]] == [("failed", "")]
    assert "undecided on the reference branch" in " ".join(command("history", "--test", "test_a"))


@pytest.mark.usefixtures("recorded")
def test_flaky(command: Command, tmp_path: Path) -> None:
    """Flaky tests are listed with what speaks for it, the quarantine with what becomes of each entry."""
    today = datetime.now(UTC).date()
    entries = {"a": today, "b": today - timedelta(days=30)}
    (tmp_path / "quarantine.toml").write_text(
        "".join(_entry(f"tests/unit/t.py::test_{name}", added) for name, added in entries.items())
    )

    found = json.loads("".join(command("flaky", "--json", "--repository", str(tmp_path))))

    assert [(each["test"], each["verdict"], each["flips"]) for each in found["tests"]] == [
        ("tests/unit/t.py::test_a", "flaky", 3)
    ]
    assert [each["standing"] for each in found["quarantine"]] == [
        "holds",
        "over: the test gates again; mend it or take the entry out",
    ]
    shown = " ".join(command("flaky", "--repository", str(tmp_path)))
    assert "flaky 2 of 4 (15%" in shown


def test_a_clean_test_can_leave_the_quarantine(
    command: Command, tmp_path: Path, make_report: MakeReport
) -> None:
    """After twenty runs without a failure the quarantine is said to be unnecessary."""
    with Archive.open("", tmp_path) as archive:
        for day in range(20):
            archive.record(make_report(day, unit="P"))
    today = datetime.now(UTC).date()
    (tmp_path / "quarantine.toml").write_text(_entry("tests/unit/t.py::test_a", today))

    found = json.loads("".join(command("flaky", "--json", "--repository", str(tmp_path))))

    assert [each["standing"] for each in found["quarantine"]] == [
        "can be taken out: passed in the last 20 runs"
    ]


def _entry(test: str, added: date) -> str:
    return (
        f'[[quarantine]]\ntest = "{test}"\nowner = "@ana"\nreason = "r"\nissue = "#1"\n'
        f"added = {added}\nexpires = {added + timedelta(days=14)}\n"
    )


def test_a_measure_that_got_slower_is_told_with_its_commits(
    command: Command, tmp_path: Path, make_report: MakeReport
) -> None:
    """By the runs of the reference branch alone."""
    with Archive.open("", tmp_path) as archive:
        for day in range(30):
            value = 100.0 if day < 20 else 112.0
            apply = Measurement(name="apply", metric="cpu", value=value, unit="us", samples=1)
            archive.record(make_report(day, unit="P", commit=f"{day:02}" * 20), [apply])
        other = replace(apply, value=900.0)
        for day in range(30, 35):
            archive.record(make_report(day, unit="P", branch="topic"), [other])

    assert command("shifts", "--measure", "apply")[1].startswith(
        "apply cpu 100 us 112 us +12.0% 1919191919..2020202020"
    )
    (found,) = json.loads("\n".join(command("shifts", "--measure", "apply", "--json")))
    assert (found["since"], found["commits"]) == (10, "1919191919..2020202020")
    assert command("shifts", "--measure", "match") == [
        "no measure of the reference branch moved to another level in 100 runs"
    ]
