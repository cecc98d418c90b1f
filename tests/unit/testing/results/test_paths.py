"""Paths in results are those of the repository, whichever folder it was checked out to."""

from datetime import UTC, datetime
from pathlib import Path

from kvsync.testing.results.outcome import Check, StageResult, merge
from kvsync.testing.results.paths import from_top

TOP = Path("/srv/ci/shop")
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_paths_inside_are_shown_from_the_top_and_others_whole() -> None:
    """Also in a reason that is cut in its middle, and in a doubt; an address is no path."""
    words = f"{TOP}/.venv/bin/python {TOP}/x.py /srv/ci/shop2/y /usr/bin/z file://{TOP}/u"
    check = Check(name=f"exit status of {words}", kind="failed", detail=f"{TOP}/tests/a.py: no " + 400 * "x")
    result = merge("unit", [check], started_at=NOON).doubted(f"{TOP}/junit.xml is cut off")

    shown = from_top(result, TOP)

    assert shown.checks[0].name == (
        f"exit status of .venv/bin/python x.py /srv/ci/shop2/y /usr/bin/z file://{TOP}/u"
    )
    assert shown.checks[0].detail.startswith("tests/a.py: no x")
    assert (shown.doubt, shown.outcome) == ("junit.xml is cut off", result.outcome)
    assert f" {TOP}/" not in shown.reason


def test_a_result_that_could_not_be_had_keeps_its_reason() -> None:
    """And one without a path is the same."""
    gone = from_top(StageResult.unknown("unit", f"not run: there is no {TOP}/a", started_at=NOON), TOP)
    plain = merge("unit", [Check(name="t.py::test", kind="passed")], started_at=NOON)

    assert (gone.reason, gone.checks[0].detail) == ("not run: there is no a", "not run: there is no a")
    assert from_top(plain, TOP) == plain
