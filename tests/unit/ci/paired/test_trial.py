"""The order in which two versions are measured, and what a second batch is for."""

import random
from collections.abc import Sequence

from kvsync.ci.paired.judgement import PairedLimits, PairedVerdict
from kvsync.ci.paired.trial import compared, turns
from kvsync.testing.results.measurement import Measurement


def verdict(slower_in: Sequence[int]) -> tuple[PairedVerdict, list[tuple[int, bool, int]]]:
    """Judge a version that costs half as much again in these batches; also return what was measured."""
    asked: list[tuple[int, bool, int]] = []

    def measure(batch: int, is_head: bool, pair: int) -> list[Measurement]:
        asked.append((batch, is_head, pair))
        value = 150.0 if is_head and batch in slower_in else 100.0
        return [Measurement(name="m", metric="value", value=value, unit="us", samples=1)]

    (found,), alone = compared(measure, 5, random.Random(0), PairedLimits())
    assert not alone
    return found.verdict, asked


def test_a_regression_has_to_be_seen_in_a_second_batch() -> None:
    """What is not slower needs no second one, and what is slower only once is not told."""
    assert verdict([])[0] == "passed"
    assert verdict([1])[0] == "inconclusive"
    assert verdict([1, 2])[0] == "regression"
    assert [len(verdict(slower)[1]) for slower in ([], [1], [2])] == [10, 20, 10]


def test_each_pair_is_measured_in_turns() -> None:
    """Each second pair in the other order, so that what drifts meets both alike."""
    order = [*turns(6, random.Random(3))]

    assert sorted(order) == [(pair, is_head) for pair in range(6) for is_head in (False, True)]
    first = [is_head for _, is_head in order[::2]]
    assert all(one != other for one, other in zip(first[::2], first[1::2], strict=True))


def test_what_one_version_measures_is_left_out() -> None:
    """And whose it is."""

    def measure(batch: int, is_head: bool, pair: int) -> list[Measurement]:
        names = ["both", "new" if is_head else "old", *(["some"] if pair else [])]
        return [Measurement(name=name, metric="value", value=1.0, unit="", samples=1) for name in names]

    found, alone = compared(measure, 5, random.Random(0), PairedLimits())

    assert [each.name for each in found] == ["both"]
    assert alone == {"old": "base", "new": "head", "some": "some"}
