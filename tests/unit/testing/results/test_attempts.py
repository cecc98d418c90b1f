"""Attempts: what is tried again, and how several attempts become one result."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kvsync.testing.results.attempts import INVARIANT, OTHER_CODE, again, to_retry, unpassed
from kvsync.testing.results.outcome import Attempt, Check, CheckKind, Outcome, StageResult, merge

AT = datetime(2026, 11, 20, tzinfo=UTC)


def stage(**kinds: CheckKind) -> StageResult:
    """Return a stage of ten seconds whose checks ended like this."""
    checks = [Check(name=f"t.py::{name}", kind=kind, detail=f"{name} {kind}") for name, kind in kinds.items()]
    return merge("e2e", checks, started_at=AT, duration_s=10.0)


def many(count: int, kind: CheckKind, prefix: str = "t") -> list[Check]:
    """Return `count` checks that ended like this."""
    return [Check(name=f"t.py::{prefix}{number}", kind=kind) for number in range(count)]


def of(checks: Sequence[Check]) -> StageResult:
    """Return the stage with these checks."""
    return merge("e2e", checks, started_at=AT)


def test_what_is_tried_again() -> None:
    """Failures and trouble of the machine are, but nothing undecided and no broken invariant."""
    ended = stage(
        a="failed",
        b="error",
        c="timeout",
        d="infra-error",
        e="void",
        f="inconclusive",
        g="not-run",
        h="passed",
    )
    broken = Check(name="t.py::i", kind="failed", properties={INVARIANT: "broken"})
    file = Check(name="t.py", kind="error")

    assert to_retry(of([*ended.checks, broken, file])).names == tuple(f"t.py::{test}" for test in "abcd")


@pytest.mark.parametrize(
    ("failed", "passed", "spent", "names"),
    [
        pytest.param(5, 0, 0, 5, id="five of a small run"),
        pytest.param(6, 200, 0, 0, id="more than five"),
        pytest.param(6, 294, 0, 6, id="two percent of a large run"),
        pytest.param(2, 0, 3, 2, id="what earlier stages left"),
        pytest.param(3, 0, 3, 0, id="more than they left"),
    ],
)
def test_allowance(failed: int, passed: int, spent: int, names: int) -> None:
    """A run may try five tests again, or two percent; when more fail, it is an outage and none is."""
    flaky = [Check(name=f"e{n}", kind="flaky", attempts=(Attempt(kind="failed"),)) for n in range(spent)]
    retry = to_retry(of([*many(failed, "failed"), *many(passed, "passed", "p")]), [of(flaky)])

    assert len(retry.names) == names
    assert bool(retry.refusal) == (names == 0)


def test_trouble_of_the_machine_costs_no_allowance() -> None:
    """Ten tests without an image are tried again beside five that failed."""
    retry = to_retry(of([*many(10, "infra-error"), *many(5, "failed", "f")]))

    assert len(retry.names) == 15


def test_a_stage_that_did_not_end_is_not_tried_again() -> None:
    """At a time limit there is no time left."""
    assert to_retry(stage(a="failed").doubted("the stage reached its time limit")).names == ()


@pytest.mark.parametrize(
    ("first", "then", "same_code", "kind", "earlier"),
    [
        ("failed", "passed", True, "flaky", ["failed"]),
        ("failed", "passed", False, "passed", ["failed"]),
        ("infra-error", "passed", True, "passed", ["infra-error"]),
        ("inconclusive", "passed", True, "passed", ["inconclusive"]),
        ("passed", "passed", True, "passed", []),
        ("passed", "failed", True, "failed", ["passed"]),
        ("failed", "failed", True, "failed", ["failed"]),
        ("failed", "void", True, "failed", ["failed"]),
        ("failed", "not-run", True, "failed", []),
        ("passed", "not-run", True, "not-run", ["passed"]),
    ],
)
def test_two_attempts(
    first: CheckKind, then: CheckKind, same_code: bool, kind: CheckKind, earlier: list[CheckKind]
) -> None:
    """The last attempt decides and the one before is kept; one that decides nothing undoes no failure."""
    (check,) = again(stage(a=first), stage(a=then), same_code=same_code).checks

    assert (check.kind, [each.kind for each in check.attempts]) == (kind, earlier)


def test_what_other_code_had_a_part_in_stays_so() -> None:
    """An attempt with the run's own code makes no test that passed with other code one of it."""
    (mended,) = stage(a="passed").checks
    mended = replace(mended, properties={OTHER_CODE: "dirty"})
    (check,) = again(again(stage(a="failed"), of([mended]), same_code=False), stage(a="failed")).checks

    assert check.properties == {OTHER_CODE: "dirty"}


def test_what_was_not_repeated_stays() -> None:
    """A repetition of some tests leaves the others as they were, in their order; times add up."""
    merged = again(stage(a="failed", b="passed", c="skipped"), stage(a="passed", d="passed"))

    assert [(check.name, check.kind) for check in merged.checks] == [
        ("t.py::a", "flaky"),
        ("t.py::b", "passed"),
        ("t.py::c", "skipped"),
        ("t.py::d", "passed"),
    ]
    assert (merged.outcome, merged.duration_s, merged.started_at) == (Outcome.PASSED, 20.0, AT)


def test_a_test_that_is_gone() -> None:
    """A whole repetition drops what is not there any more, unless it did not come to its end."""
    before, after = stage(a="failed", b="passed"), stage(b="passed")

    assert again(before, after, whole=True).outcome is Outcome.PASSED
    assert again(before, after.doubted("interrupted"), whole=True).outcome is Outcome.FAILED


def test_doubt_stays_until_everything_was_repeated() -> None:
    """A stage that hung is not cleared by one of its tests, but by all of them."""
    hung = stage(a="failed", b="passed").doubted("pytest hung")

    assert again(hung, stage(a="passed")).outcome is Outcome.UNKNOWN
    assert again(hung, stage(a="passed", b="passed")).outcome is Outcome.PASSED


def test_a_repetition_that_could_not_start() -> None:
    """What failed stays failed, what passed becomes doubtful; the next repetition clears that."""
    nothing = StageResult.unknown("e2e", "not run: there is no kind cluster")

    assert again(stage(a="failed"), nothing).outcome is Outcome.FAILED
    doubtful = again(stage(a="passed"), nothing)
    assert (doubtful.outcome, doubtful.reason) == (Outcome.UNKNOWN, "not run: there is no kind cluster")
    assert again(doubtful, stage(a="passed")).outcome is Outcome.PASSED
    assert again(nothing, stage(a="passed")).outcome is Outcome.PASSED


def test_what_to_repeat() -> None:
    """The tests that did not pass; all of them when the stage is doubtful or never ran."""
    assert unpassed(stage(a="failed", b="passed", c="skipped", d="void", e="flaky")) == ("t.py::a", "t.py::d")
    assert unpassed(stage(a="failed").doubted("pytest hung")) == ()
    assert unpassed(of([Check(name="t.py", kind="error"), *many(2, "failed")])) == ()
    assert unpassed(StageResult.unknown("e2e", "not run: no cluster")) == ()
