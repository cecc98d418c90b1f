"""What `kvsync-ci show` says of checks that failed for what looks like one cause, and what `list` needs."""

import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployments.commands.console import say_profiles
from deployments.commands.show import _print_problem, list_runs
from kvsync.ci.report.problems import Problem
from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import Check, merge

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_checks_of_one_cause_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """By their stages, and by what was measured where that differs."""
    first = Check(name="errors < 5 %", kind="failed", detail="errors were 90 %")
    other = Check(name="errors < 5 %", kind="failed", detail="errors were 50 %")

    _print_problem(Problem("failed", first.headline, [("load", first), ("half", other)]))

    assert capsys.readouterr().out.splitlines() == [
        "",
        "failed errors were 90 %",
        "  load: errors < 5 %",
        "  half: errors < 5 %: errors were 50 %",
    ]


def test_a_profile_that_was_asked_for_is_named_or_why_there_is_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Other remarks are the report's."""
    _write_run(tmp_path, 0)
    (report,) = (Report.read(file) for file in tmp_path.glob("*/report.json"))
    remarks = ("a note", "profile: evidence/x.html", "no profile: there is no memray")

    say_profiles(replace(report, stages=(replace(report.stages[0], name="unit", remarks=remarks),)))

    said = capsys.readouterr().out.splitlines()
    assert said == ["unit: profile: evidence/x.html", "unit: no profile: there is no memray"]


def test_listing_has_one_report_at_a_time_in_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five runs take about as much as one: each may have 100,000 checks."""
    _write_run(tmp_path, 0)
    list_runs(tmp_path)  # what is made once
    alone = _peak_of_listing(tmp_path)
    for number in range(1, 5):
        _write_run(tmp_path, number)

    assert _peak_of_listing(tmp_path) < 1.5 * alone
    assert capsys.readouterr().out.count("-abcd") == 7


def _write_run(report_dir: Path, number: int) -> None:
    run = f"20260101-12000{number}-abcd"
    checks = [Check(name=f"tests/test_many.py::test_it[{each}]", kind="passed") for each in range(2_000)]
    report = Report(
        run=run,
        started_at=NOON,
        duration_s=1.0,
        command="kvsync-ci run",
        stages=[merge("unit", checks, started_at=NOON)],
        parameters={},
        versions={},
        machine={},
    )
    (report_dir / run).mkdir()
    (report_dir / run / "ledger.jsonl").touch()
    report.write(report_dir / run / "report.json")


def _peak_of_listing(report_dir: Path) -> int:
    tracemalloc.start()
    try:
        list_runs(report_dir)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
