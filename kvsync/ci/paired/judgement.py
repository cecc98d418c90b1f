"""Whether the second of two versions costs more than the first, by paired measurements. Pure.

Rules:

1. The two are measured in turns, each time by a fresh process; one process gives one value of a metric.
2. A metric is slower if that is unlikely to be chance (exact one-sided Mann-Whitney test, and the
   Benjamini-Hochberg procedure over all metrics) and more than a floor, and more than the first version
   differs from itself. It is a regression if a second batch of pairs says so again. No floor holds for what
   is the same number in each process of a version, such as a count of messages or of allocations.
3. A metric whose noise would hide a slowdown that has to be noticed is inconclusive, not passed.

Reasons: on two busy cores a limit of 10 % against a stored run raised false alarms in a third of all runs;
ten interleaved pairs of CPU times, p < 0.01 and 3 %, raised none in 150, and found 5 % in 96 %.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from math import comb
from statistics import median
from typing import Literal

PairedVerdict = Literal["regression", "passed", "inconclusive"]

NOT_SLOWER = ": not slower"
"""How the check of a measure is called, after its name."""

NOISE = 3.0
"""How many median absolute deviations of the first version's values a difference has to exceed."""

MOST_SEEN_PERCENT = 200
"""A slowdown of more than 200 % is not looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedLimits:
    """`p`: how unlikely chance has to be; `false`: the share of false ones among all metrics that are slower.

    `floor`: the smallest slowdown that counts, as a share; `seen`: the one that has to be noticed.
    """

    p: float = 0.01
    false: float = 0.05
    floor: float = 0.03
    seen: float = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedSamples:
    """The values of one metric, one for each process of either version; both have at least two."""

    base: Sequence[float]
    head: Sequence[float]
    unit: str = ""
    better: Literal["lower", "higher"] = "lower"

    def costs(self) -> tuple[list[float], list[float]]:
        """Return the values such that more is worse. Raises ValueError if there is none above zero."""
        if min(*self.base, *self.head) <= 0:
            raise ValueError("not all values are above zero")
        if self.better == "lower":
            return [*self.base], [*self.head]
        return [1 / each for each in self.base], [1 / each for each in self.head]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedMetric:
    """What is said of one metric. `change`: by which share the second version costs more; less than 0: less.

    `seen`: the smallest slowdown that this noise would have shown, None: not even one of 200 %.
    """

    name: str
    samples: PairedSamples
    verdict: PairedVerdict
    p: float = 1.0
    change: float = 0.0
    seen: float | None = None
    problem: str = ""


def judge(metrics: Mapping[str, PairedSamples], limits: PairedLimits) -> list[PairedMetric]:
    """Judge one batch: what is a regression here has to be one in a second batch, too."""
    found = [_alone(name, samples, limits) for name, samples in metrics.items()]
    least = _believed([each.p for each in found], limits.false)
    return [
        replace(each, verdict=_without_slowdown(each, limits))
        if each.verdict == "regression" and each.p > least
        else each
        for each in found
    ]


def confirm(first: Sequence[PairedMetric], second: Sequence[PairedMetric]) -> list[PairedMetric]:
    """Return what holds after a second batch: a regression that it does not show is inconclusive."""
    again = {each.name for each in second if each.verdict == "regression"}
    return [
        replace(each, verdict="inconclusive", problem="a second batch of pairs did not show it")
        if each.verdict == "regression" and each.name not in again
        else each
        for each in first
    ]


def overall(metrics: Sequence[PairedMetric]) -> PairedVerdict:
    """Return the verdict of all: nothing is passed without a metric."""
    for verdict in ("regression", "inconclusive"):
        if any(each.verdict == verdict for each in metrics):
            return verdict
    return "passed" if metrics else "inconclusive"


def larger_by_chance(base: Sequence[float], head: Sequence[float]) -> float:
    """Return how likely `head` ranks at least this high if both are alike (Mann-Whitney, exact with ties).

    Counts the ways to choose as many of all values with at least this sum of (doubled mid-) ranks, which are
    the coefficients of a polynomial: a number whose digits they are takes the place of a table.
    """
    ranks, count = _doubled_ranks([*base, *head]), len(head)
    choices = comb(len(ranks), count)
    bits = choices.bit_length()
    ways = [1] + [0] * count
    for rank in ranks:
        for chosen in range(count, 0, -1):
            ways[chosen] += ways[chosen - 1] << (rank * bits)
    as_high, digit, found = ways[count] >> (sum(ranks[len(base) :]) * bits), (1 << bits) - 1, 0
    while as_high:
        found += as_high & digit
        as_high >>= bits
    return found / choices


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    """Return the rank of each value, twice: equal values share the middle of theirs."""
    ordered = sorted(values)
    sizes = [(value, len([*same])) for value, same in groupby(ordered)]
    ends = accumulate(size for _, size in sizes)
    rank = {value: 2 * end - size + 1 for (value, size), end in zip(sizes, ends, strict=True)}
    return [rank[value] for value in values]


def _alone(name: str, samples: PairedSamples, limits: PairedLimits) -> PairedMetric:
    try:
        base, head = samples.costs()
    except ValueError as error:
        return PairedMetric(name=name, samples=samples, verdict="inconclusive", problem=str(error))
    p, change = _slowdown(base, head)
    metric = PairedMetric(
        name=name,
        samples=samples,
        verdict="regression",
        p=p,
        change=change,
        seen=_noticed(base, head, limits),
    )
    if _is_slower(base, head, limits):
        return metric
    return replace(metric, verdict=_without_slowdown(metric, limits))


def _without_slowdown(metric: PairedMetric, limits: PairedLimits) -> PairedVerdict:
    return "passed" if metric.seen is not None and metric.seen <= limits.seen else "inconclusive"


def _slowdown(base: Sequence[float], head: Sequence[float]) -> tuple[float, float]:
    return larger_by_chance(base, head), median(head) / median(base) - 1


def _is_slower(base: Sequence[float], head: Sequence[float], limits: PairedLimits) -> bool:
    p, change = _slowdown(base, head)
    if len({*base}) == len({*head}) == 1:
        return p <= limits.p and change > 0
    middle = median(base)
    noise = median(abs(each - middle) for each in base) / middle
    return p <= limits.p and change > max(limits.floor, NOISE * noise)


def _noticed(base: Sequence[float], head: Sequence[float], limits: PairedLimits) -> float | None:
    """Return the smallest slowdown, in whole percents, that would have been noticed."""
    even = median(base) / median(head)

    def is_seen(percent: int) -> bool:
        return _is_slower(base, [each * even * (1 + percent / 100) for each in head], limits)

    found = bisect_left(range(MOST_SEEN_PERCENT + 1), True, key=is_seen)
    return found / 100 if found <= MOST_SEEN_PERCENT else None


def _believed(chances: Sequence[float], false: float) -> float:
    """Return the largest p that the Benjamini-Hochberg procedure believes; -1: none."""
    ordered = sorted(chances)
    fits = [p for place, p in enumerate(ordered, 1) if p <= false * place / len(ordered)]
    return max(fits, default=-1.0)
