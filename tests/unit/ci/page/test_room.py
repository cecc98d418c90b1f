"""How much of a run has room on its page: failures whole, then cut, then counted; all others packed."""

import base64
import json
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from kvsync.ci.page.room import PACKED_BYTES, Room, ShownTests, shown_problems, shown_tests
from kvsync.ci.report.problems import Problem
from kvsync.testing.results.outcome import Attempt, Check, merge


def shown(checks: Sequence[Check]) -> ShownTests:
    """Return what is shown of the only stage of a run."""
    (found,) = shown_tests([merge("unit", checks, started_at=datetime(2026, 11, 20, tzinfo=UTC))])
    return found


def unpacked(tests: ShownTests) -> list[list[str]]:
    """Return the rows of a packed table."""
    rows: list[list[str]] = json.loads(zlib.decompress(base64.b64decode(tests.packed)))
    return rows


def test_failures_are_whole_then_cut_then_counted() -> None:
    """Whatever tests say, their texts take no more room than there is."""
    checks = [("unit", Check(name=f"t.py::{n}", kind="failed", detail="x" * 100_000)) for n in range(400)]
    (problem,) = shown_problems([Problem("failed", "x", checks)])
    sizes = [len(check.detail) for _, check in problem.checks]

    assert sizes[0] == 100_000
    assert len(set(sizes)) == 2
    assert sum(sizes) < 2_000_000
    assert problem.more == 400 - len(sizes) > 0


def test_a_cut_text_says_so() -> None:
    """In its middle, with how much is missing, so that its beginning and its end are there."""
    check = Room(0, 10_000).fit(Check(name="a", kind="failed", detail=f"begin {'x' * 9000} end"))

    assert check is not None
    assert check.detail.startswith("begin xxx")
    assert check.detail.endswith("xxx end")
    assert "…[and 8010 characters]…" in check.detail


def test_what_passed_is_packed() -> None:
    """Names, times, reasons and the end of what was printed; flaky tests stand beside failures."""
    found = shown(
        [
            Check(name="a", kind="passed", duration_s=1.5, log_tail="printed"),
            Check(name="b", kind="skipped", detail="no cluster"),
            Check(name="c", kind="flaky", attempts=(Attempt(kind="failed", detail="once"),)),
            Check(name="d", kind="failed", detail="shown with the problems"),
        ]
    )

    assert unpacked(found) == [["passed", "a", "1.5 s", "printed"], ["skipped", "b", "0 s", "no cluster"]]
    assert [(check.name, check.detail) for check in found.loud] == [("c", ""), ("d", "")]


@pytest.mark.parametrize(
    ("tests", "printed", "length"),
    [
        pytest.param(20_000, 0, 300, id="long names"),
        pytest.param(2_000, 2_000, 10, id="much that is printed"),
    ],
)
def test_a_packed_table_has_a_limit(tests: int, printed: int, length: int) -> None:
    """What they printed goes first, then the middles of their names, then the last of them."""
    noise = [f"{n * 7919 % 104729:x}" * (max(printed, length) // 4) for n in range(tests)]
    found = shown(
        [
            Check(name=f"{n} {text[:length]}", kind="passed", log_tail=text[:printed])
            for n, text in enumerate(noise)
        ]
    )

    assert len(found.packed) <= PACKED_BYTES
    assert found.all_quiet == tests
