"""Artifacts say what a run found, and hostile text in them is only text."""

from datetime import UTC, datetime

import pytest

from kvsync.ci.report.problems import problems
from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import Check, merge
from tasks.artifacts import failures_page, links_page, plain, stage_rows, verdict_page

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

HOSTILE = (
    "```\n<script>x</script> ![a](http://evil/x.png) [b](http://evil) <http://evil>\x1b[31m\n````\n# big"
)


def report(*checks: Check) -> Report:
    """Return the report of a run of one stage."""
    return Report(
        run="run-1",
        started_at=NOON,
        duration_s=1.0,
        command="kvsync-ci run unit",
        stages=[merge("unit", checks, started_at=NOON, duration_s=61.0)],
        parameters={},
        versions={},
        machine={},
    )


def outside_code(page: str) -> str:
    """Return the lines of a Markdown page that stand in no code block."""
    lines, fence = [], ""
    for line in page.splitlines():
        if fence:
            fence = "" if line == fence else fence
        elif line.startswith("```"):
            fence = line.removesuffix("text")
        else:
            lines.append(line)
    assert not fence
    return "\n".join(lines)


def test_hostile_text_stays_in_code_blocks() -> None:
    """Names, reasons, details and output cannot end their block."""
    bad = Check(name=f"t.py::test_{HOSTILE}", kind="failed", detail=f"E   {HOSTILE}", log_tail=HOSTILE)
    found = report(bad)

    for page in (verdict_page(found), failures_page(problems(found))):
        assert "evil" in page
        assert "evil" not in outside_code(page)
        assert "# big" not in outside_code(page)
        assert "\x1b" not in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n b\x1b[31m", "a b [31m"),
        ("[b](http://evil/x)", "[b] (http: //evil/x)"),
        ("<img src=x> `c` @all www.evil.org", "‹img src=x› 'c' @\u200ball www .evil.org"),  # noqa: RUF001
        ("x" * 400, "x" * 299 + "…"),
    ],
    ids=["lines", "link", "HTML", "long"],
)
def test_cells_have_no_markdown(text: str, shown: str) -> None:
    """A cell is one short line that one of Prefect's UIs renders as Markdown."""
    assert plain(text) == shown


def test_failures_are_told_by_cause_with_the_end_of_a_log() -> None:
    """Alike failures are one, named up to a number; pages of very large runs stay small."""
    alike = [
        Check(name=f"t.py::test_{n}", kind="failed", detail=f"E  port {n} is taken", log_tail="x" * 9000)
        for n in range(12)
    ]
    apart = [
        Check(name=f"u.py::{letter}", kind="error", detail=f"E  {letter * 3000}")
        for letter in "aghijklmnopqrstuvwxyz"
    ]
    page = failures_page(problems(report(*alike, *apart)))

    assert page.startswith("## failed, 12 tests\n\n```text\nport 0 is taken\n\nunit: t.py::test_0\n")
    assert "unit: t.py::test_4\nand 7 more\n```" in page
    assert page.endswith("and 2 more causes, in the report")
    assert len(page) < 200_000
    assert failures_page(problems(report(Check(name="a", kind="passed")))) == ""


def test_stages_and_links() -> None:
    """A stage is a row of plain words; the link cannot be broken out of."""
    (row,) = stage_rows(report(Check(name="a", kind="passed")))

    assert row == {
        "stage": "unit",
        "outcome": "passed",
        "tests": "1 passed",
        "time": "1 min 1 s",
        "changed": "",
        "reason": "",
    }
    assert links_page(report(), "https://s3/a b>)(<x|y", "s3://b/<x>|y").endswith(
        "[open the report](<https://s3/a%20b%3E%29%28%3Cx%7Cy>) | s3: //b/\u2039x\u203a/y |"
    )
