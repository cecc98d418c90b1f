"""Several attempts at one check: the last decides, and those before stay in sight. Pure.

- A pass after a failure of the same code is flaky; after one of other code it is a pass.
- An attempt that decides nothing, or was never made, undoes no failure.
- Only what chance can decide is tried again: what the machine did (infra-error), and tests of whole clusters.
  A broken invariant is evidence the first time. When more fails than the allowance of a run, it is an outage
  and nothing is tried again: the failures would be bought off one by one.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from kvsync.testing.results.outcome import (
    NEUTRAL,
    Attempt,
    Check,
    CheckKind,
    Checks,
    Outcome,
    StageResult,
    merge,
)

AGAIN: frozenset[CheckKind] = frozenset({"failed", "error", "timeout", "infra-error"})
"""How a check has to have ended to be tried again."""
OTHER_CODE = "code"
"""The property of a check whose attempts were not all of the run's code; it says what differed."""
INVARIANT = "invariant"
"""The property of a check that broke what must always hold; it says which."""
FEWEST_ALLOWED, SHARE_ALLOWED = 5, 0.02
"""Checks of a run that may be tried again: this many, or this share of its tests if that is more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The checks to try again; or why none is, though some could."""

    names: tuple[str, ...] = ()
    refusal: str = ""


def to_retry(result: StageResult, before: Iterable[StageResult] = ()) -> Retry:
    """Choose what is tried again of a stage; `before` are the results of the run's earlier stages.

    A stage that did not end by itself (a time limit, an interruption) has none.
    """
    if result.doubt:
        return Retry()
    chosen = [
        check
        for check in result.where(lambda each: each.kind in AGAIN and INVARIANT not in each.properties)
        if _is_test(check.name)
    ]
    stages = [*before, result]
    spent = sum(1 for stage in stages[:-1] for _ in stage.where(lambda each: bool(each.attempts)))
    every = sum(len(stage.checks) for stage in stages)
    allowed = max(FEWEST_ALLOWED, int(SHARE_ALLOWED * every)) - spent
    if (counted := sum(check.kind != "infra-error" for check in chosen)) > allowed:
        return Retry(refusal=f"not tried again: {counted} failed, {allowed} more may be in this run")
    return Retry(names=tuple(check.name for check in chosen))


def refused(result: StageResult, refusal: str) -> StageResult:
    """Note the refusal at each check that might have been tried again."""
    checks = Checks(
        replace(check, properties={**check.properties, "retry": refusal}) if check.kind in AGAIN else check
        for check in result.checks
    )
    return replace(result, checks=checks)


def unknown_tests(result: StageResult, known: Collection[str] | None) -> tuple[str, ...]:
    """Return the tests that passed and are not known; none where None says that nothing is known of any."""
    if known is None or result.doubt:
        return ()
    passed = result.where(lambda each: each.kind == "passed")
    return tuple(c.name for c in passed if _is_test(c.name) and c.name not in known)


def unpassed(result: StageResult) -> tuple[str, ...]:
    """Return the checks to repeat so that the stage could pass; none stands for all of them."""
    bad = [c.name for c in result.where(lambda c: c.outcome is not Outcome.PASSED and c.kind not in NEUTRAL)]
    return () if result.doubt or any(not _is_test(name) for name in bad) else tuple(bad)


def _is_test(name: str) -> bool:
    """Whether a check is a single test: a file that cannot be read, or a whole stage, is not one."""
    return "::" in name


def last_of(endings: Sequence[Check], *, same_code: bool = True) -> Check:
    """Merge the endings of one check, in the order in which they happened; there must be one.

    The last that decided something decides; what decided nothing after a pass leaves the check undecided.
    """
    if len(endings) == 1:
        return endings[0]
    decided = [number for number, each in enumerate(endings, start=1) if _is_decided(each)]
    if decided and endings[decided[-1] - 1].outcome is Outcome.FAILED and decided[-1] < len(endings):
        return _still(last_of(endings[: decided[-1]], same_code=same_code), endings[decided[-1] :])
    *earlier, last = endings
    failed = any(each.outcome is Outcome.FAILED or each.kind == "flaky" for each in earlier)
    before = [attempt for each in earlier for attempt in (*each.attempts, _attempt(each))]
    if all(attempt.kind == last.kind == "passed" for attempt in before):
        before = []
    inherited = {
        name: text for each in earlier for name, text in each.properties.items() if name == OTHER_CODE
    }
    flaky = same_code and failed and last.outcome is Outcome.PASSED
    return replace(
        last,
        kind="flaky" if flaky else last.kind,
        attempts=(*before, *last.attempts),
        properties={**inherited, **last.properties},
    )


def _is_decided(check: Check) -> bool:
    return check.outcome is not Outcome.UNKNOWN or check.kind == "quarantined"


def _still(failed: Check, after: Sequence[Check]) -> Check:
    """Return a failure after which attempts decided nothing; one that was never made leaves no trace."""
    made = [each for each in after if each.kind != "not-run"]
    if not made:
        return failed
    notes = [f"The attempt after it decided nothing ({each.kind}): {each.detail}" for each in made]
    attempts = (*failed.attempts, *map(_attempt, [failed, *made[:-1]]))
    return replace(failed, detail="\n\n".join([failed.detail, *notes]).strip(), attempts=attempts)


def attempted(name: str, attempt: int) -> str:
    """Return the name under which histories tell an attempt at a test from those before it."""
    return name if attempt == 1 else f"{name} (attempt {attempt})"


def _attempt(check: Check) -> Attempt:
    kind: CheckKind = "passed" if check.kind == "flaky" else check.kind
    return Attempt(kind=kind, detail=check.detail, duration_s=check.duration_s)


def again(
    earlier: StageResult, later: StageResult, *, whole: bool = False, same_code: bool = True
) -> StageResult:
    """Merge a repetition, of the whole stage or of some of its tests, into what was known before.

    What an earlier attempt left in doubt stays so until everything in it was tried again. A test that was
    not there when the whole stage was repeated, to its end, is gone.
    """
    before, after = _by_name(earlier), _by_name(later)
    if not before:
        return later
    if whole and after and not later.doubt:
        before = {name: check for name, check in before.items() if name in after}
    checks = [
        _pair(before.get(name), after.get(name), same_code=same_code)
        for name in dict.fromkeys([*before, *after])
    ]
    merged = merge(
        earlier.name,
        checks,
        started_at=min(earlier.started_at, later.started_at),
        duration_s=earlier.duration_s + later.duration_s,
        log=later.log or earlier.log,
    )
    doubts = [later.doubt, "" if before.keys() <= after.keys() else earlier.doubt]
    for doubt in filter(None, dict.fromkeys(doubts)):
        merged = merged.doubted(doubt)
    return merged


def _by_name(result: StageResult) -> dict[str, Check]:
    """Return the checks of a stage without that which stands for a stage that could not be carried out."""
    return {check.name: check for check in result.checks if check.name != result.name}


def _pair(before: Check | None, after: Check | None, *, same_code: bool) -> Check:
    if before and not after:
        return before
    return last_of([each for each in (before, after) if each], same_code=same_code)
