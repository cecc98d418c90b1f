"""A report as CSV and as Markdown."""

import csv
from datetime import UTC, datetime

from kvsync.ci.report.export import report_csv, report_markdown
from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import Attempt, Check, merge

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

CHECKS = [
    Check(name="t.py::test_a", kind="passed", duration_s=0.25),
    Check(
        name="t.py::test_b[a|b]",
        kind="failed",
        detail="E   =cmd, then\nmore",
        attempts=[Attempt(kind="failed")],
        properties={"owners": "@gw/tests"},
    ),
    Check(name="t.py::test_c", kind="skipped", detail="not here"),
]

REPORT = Report(
    run="run-1",
    started_at=NOON,
    duration_s=12.5,
    command="kvsync-ci run unit --seed 7",
    stages=[merge("unit", CHECKS, started_at=NOON, duration_s=2.0)],
    parameters={},
    commit="abc",
    branch="main",
    versions={},
    machine={},
)


def test_csv_has_every_check() -> None:
    """A row for each, under names that scripts can rely on."""
    rows = list(csv.DictReader(report_csv(REPORT)))

    assert [row["check"] for row in rows] == ["t.py::test_a", "t.py::test_b[a|b]", "t.py::test_c"]
    assert rows[1] == {
        "run": "run-1",
        "commit": "abc",
        "branch": "main",
        "stage": "unit",
        "check": "t.py::test_b[a|b]",
        "kind": "failed",
        "outcome": "failed",
        "duration_s": "0.0",
        "attempts": "2",
        "owners": "'@gw/tests",
        "headline": "'=cmd, then",
    }


def test_markdown_has_what_did_not_pass() -> None:
    """The verdict first, then the stages, then the failures; what passed or was skipped is only counted."""
    assert report_markdown(REPORT) == (
        "### FAILED: ` unit: 1 of 3 failed: test_b[a|b]: =cmd, then `\n\n"
        "Run ` run-1 `, commit ` abc `, branch ` main `\n\n"
        "| stage | outcome | checks | seconds |\n"
        "| --- | --- | --- | --- |\n"
        "| ` unit ` | ` failed ` | ` 1 passed, 1 skipped, 1 failed ` | 2.00 |\n\n"
        "| stage | check | kind | owners | headline |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| ` unit ` | ` t.py::test_b[a\\|b] ` | ` failed ` | ` @gw/tests ` | ` =cmd, then ` |\n\n"
        "Repeat: ` kvsync-ci run unit --seed 7 `\n"
    )
