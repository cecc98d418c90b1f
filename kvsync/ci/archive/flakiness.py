"""Which tests are flaky and which are broken, by how they ended in earlier runs. Pure.

- Proof: the test passed and failed at one commit, in two runs of a profile or in two attempts at one.
- Suspicion: on the reference branch it changed sides at least `FLIPS` times in its last `WINDOW` decided
  endings. Fewer say little: a test that was broken once and mended changed sides twice.
- A test that failed in each of its last `BROKEN_AFTER` decided endings is broken, whatever came before: it
  should be mended, not set aside.

Proofs count as long as the window reaches back, so a test that was mended is cleared in time.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise, takewhile
from typing import Literal

from kvsync.testing.results.outcome import OUTCOMES, Check, CheckKind, Outcome

WINDOW = 20
FLIPS = 3
BROKEN_AFTER = 5

CLEAN_RUNS = 20
"""Passed so often in a row on the reference branch, a quarantined test can gate again."""

Z_95 = 1.96
"""The normal quantile of an interval that holds the true rate 95 times out of 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a test ended in one run, of files that are exactly those of `commit`.

    `mixed`: attempts of this run ended on both sides. `reference`: the run was one of the reference branch.
    `stands_in`: it was of another profile, in which the test does something else.
    """

    run: str
    commit: str
    at: datetime
    kind: CheckKind
    mixed: bool = False
    reference: bool = True
    stands_in: bool = False

    @property
    def side(self) -> Literal["passed", "failed"] | None:
        """On which side it ended; None if it was not decided. In quarantine only failures stay."""
        return side(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flakiness:
    """What earlier runs say of a test.

    `decided`, `failures` and `flips` are of the window; `proofs` are the commits at which it ended on both
    sides; `clean_runs` is how often it passed last, without a break.
    """

    verdict: Literal["steady", "flaky", "broken"]
    decided: int
    failures: int
    flips: int
    proofs: tuple[str, ...]
    clean_runs: int

    @property
    def flip_rate(self) -> float:
        """How many of the steps from one ending to the next changed sides, from 0 to 1."""
        return self.flips / (self.decided - 1) if self.decided > 1 else 0.0

    @property
    def failure_rate(self) -> tuple[float, float]:
        """Between which rates the true rate of failures lies, with a confidence of 95 %."""
        return wilson(self.failures, self.decided)


def side(kind: CheckKind) -> Literal["passed", "failed"] | None:
    """Return the side that a kind of ending is on; None for one that decides nothing."""
    if kind == "quarantined" or OUTCOMES[kind] is Outcome.FAILED:
        return "failed"
    return "passed" if OUTCOMES[kind] is Outcome.PASSED else None


def is_mixed(check: Check) -> bool:
    """Say whether the attempts at a check ended on both sides."""
    if not check.attempts:  # as of nearly all
        return check.kind == "flaky"
    kinds = [check.kind, *(attempt.kind for attempt in check.attempts)]
    return check.kind == "flaky" or {"passed", "failed"} <= {side(kind) for kind in kinds}


def flakiness(endings: Sequence[Ending]) -> Flakiness:
    """Judge a test by its endings, the oldest first; those of other branches count as proofs only."""
    decided = [each for each in endings if each.reference and each.side]
    window = decided[-WINDOW:]
    sides = [each.side for each in window]
    flips = sum(one != next_ for one, next_ in pairwise(sides))
    since = window[0].at if len(decided) > WINDOW else None
    proofs = _proofs([each for each in endings if since is None or each.at >= since])
    broken = sides[-BROKEN_AFTER:] == ["failed"] * BROKEN_AFTER
    flaky = bool(proofs) or flips >= FLIPS
    return Flakiness(
        verdict="broken" if broken else "flaky" if flaky else "steady",
        decided=len(window),
        failures=sides.count("failed"),
        flips=flips,
        proofs=proofs,
        clean_runs=sum(1 for _ in takewhile(_is_clean, reversed(decided))),
    )


def failing_streak(endings: Sequence[Ending]) -> list[Ending]:
    """Return the failures on the reference branch that no pass followed, the oldest first."""
    decided = [each for each in endings if each.reference and each.side]
    return list(takewhile(lambda each: each.side == "failed", reversed(decided)))[::-1]


def wilson(failures: int, decided: int) -> tuple[float, float]:
    """Return Wilson's interval of a rate at 95 %; (0, 1) without anything decided.

    Unlike the plain rate it says how little a few runs prove: 0 of 5 is anything up to 43 %.
    """
    if not decided:
        return 0.0, 1.0
    rate, square = failures / decided, Z_95**2 / decided
    middle = (rate + square / 2) / (1 + square)
    half = Z_95 * math.sqrt(rate * (1 - rate) / decided + square / (4 * decided)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def _proofs(endings: Sequence[Ending]) -> tuple[str, ...]:
    """Return the commits at which the test ended on both sides in one profile; without a commit, no proof."""
    found: dict[tuple[str, bool], set[str]] = defaultdict(set)
    for each in endings:
        if each.commit and each.side:
            found[each.commit, each.stands_in] |= {"passed", "failed"} if each.mixed else {each.side}
    return tuple(dict.fromkeys(commit for (commit, _), sides in found.items() if len(sides) > 1))


def _is_clean(ending: Ending) -> bool:
    return ending.side == "passed" and not ending.mixed
