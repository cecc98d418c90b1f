"""Outcomes: how checks merge into a verdict that is never better than its evidence."""

import json
from datetime import UTC, datetime

import pytest

from kvsync.testing.results.outcome import (
    OUTCOMES,
    Attempt,
    Check,
    CheckKind,
    Outcome,
    StageResult,
    merge,
    worst,
)

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def checks(*kinds: CheckKind) -> list[Check]:
    """Return one check of each kind, named after its position."""
    return [Check(name=f"t.py::test_{i}", kind=kind, detail="E   why") for i, kind in enumerate(kinds)]


def merged(*kinds: CheckKind) -> StageResult:
    """Return the result of a stage with checks of these kinds."""
    return merge("some", checks(*kinds), started_at=NOON)


def test_order_of_outcomes() -> None:
    """Unknown is worse than passed and better than failed."""
    assert Outcome.PASSED < Outcome.UNKNOWN < Outcome.FAILED
    assert worst([Outcome.PASSED, Outcome.UNKNOWN]) is Outcome.UNKNOWN
    assert worst([Outcome.UNKNOWN, Outcome.FAILED, Outcome.PASSED]) is Outcome.FAILED


def test_nothing_is_unknown() -> None:
    """Without anything to merge the outcome is unknown."""
    assert worst([]) is Outcome.UNKNOWN


def test_kinds() -> None:
    """Only three kinds of ending are a pass."""
    assert {kind for kind, outcome in OUTCOMES.items() if outcome is Outcome.PASSED} == {
        "passed",
        "xfailed",
        "flaky",
    }
    assert {kind for kind, outcome in OUTCOMES.items() if outcome is Outcome.FAILED} == {
        "failed",
        "error",
        "timeout",
    }


@pytest.mark.parametrize(
    ("kinds", "outcome", "reason"),
    [
        ((), Outcome.UNKNOWN, "no test ran"),
        (("passed", "passed"), Outcome.PASSED, ""),
        (("passed", "skipped"), Outcome.PASSED, ""),
        (("passed", "xfailed", "flaky"), Outcome.PASSED, ""),
        (("skipped", "skipped"), Outcome.UNKNOWN, "all 2 skipped: why"),
        (("passed", "void"), Outcome.UNKNOWN, "1 of 2 undecided: test_1: why"),
        (("not-run", "inconclusive"), Outcome.UNKNOWN, "2 of 2 undecided: test_0: why"),
        (("void", "failed", "passed", "error"), Outcome.FAILED, "2 of 4 failed: test_1: why"),
        (("timeout",), Outcome.FAILED, "1 of 1 failed: test_0: why"),
    ],
    ids=lambda value: "-".join(value) or "none" if isinstance(value, tuple) else "",
)
def test_merge(kinds: tuple[CheckKind, ...], outcome: Outcome, reason: str) -> None:
    """A stage is as bad as its worst check; a skipped one proves nothing and spoils nothing."""
    result = merged(*kinds)

    assert (result.outcome, result.reason) == (outcome, reason)
    assert len(result.checks) == len(kinds)


def test_summary() -> None:
    """One line says the outcome, the stage, and the reason or else the counts."""
    assert merged("passed", "skipped", "passed").summary() == "PASSED: some: 2 passed, 1 skipped"
    assert merged("passed", "failed").summary() == "FAILED: some: 1 of 2 failed: test_1: why"


def test_counts_are_ordered_from_good_to_bad() -> None:
    """Counts list only the kinds that occurred, the good ones first."""
    assert list(merged("failed", "void", "passed", "failed").counts.items()) == [
        ("passed", 1),
        ("void", 1),
        ("failed", 2),
    ]


@pytest.mark.parametrize(
    ("detail", "headline"),
    [
        ("", ""),
        ("no effect", "no effect"),
        (
            "def test():\n>   assert 1 == 2\nE   assert 1 == 2\nE     more\n\nt.py:3: AssertionError",
            "assert 1 == 2",
        ),
        ("\n\n  first words\nrest", "first words"),
    ],
    ids=["nothing", "one line", "pytest", "text"],
)
def test_headline(detail: str, headline: str) -> None:
    """The headline is pytest's first line of the error, or else the first line with text."""
    assert Check(name="a", kind="failed", detail=detail).headline == headline


def test_json_round_trip() -> None:
    """A result comes back from JSON as it was, and the text names outcomes."""
    check = Check(
        name="a",
        kind="flaky",
        detail="d",
        duration_s=1.5,
        log_tail="log",
        properties={"seed": "7"},
        attempts=(Attempt(kind="failed", detail="first", duration_s=0.5),),
    )
    result = merge("some", [check, *checks("void")], started_at=NOON, duration_s=3.0, log="logs/some.log")

    text = json.dumps(result.to_json())

    assert StageResult.from_json(json.loads(text)) == result
    assert '"outcome": "unknown"' in text


def test_unknown_result_says_why() -> None:
    """A stage that could not be carried out has a check that was not run, and the reason."""
    result = StageResult.unknown("kind", "docker is missing", started_at=NOON)

    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "docker is missing")
    assert [(check.kind, check.detail) for check in result.checks] == [("not-run", "docker is missing")]


def test_a_long_headline_is_cut_in_its_middle() -> None:
    """A line of 50 KB does not flood a terminal, a status or a database; the detail has all of it."""
    check = Check(name="t.py::a", kind="failed", detail=f"E   begin {'x' * 50_000} end")
    result = merge("e2e", [check], started_at=datetime(2026, 11, 20, tzinfo=UTC))

    assert len(check.headline) < 400
    assert check.headline.startswith("begin xxx")
    assert check.headline.endswith("xxx end")
    assert len(result.reason) < 500
    assert len(check.detail) > 50_000
