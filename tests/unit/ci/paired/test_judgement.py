"""What paired measurements say: slower, not slower, or not to be told."""

import random
from itertools import combinations

import pytest

from kvsync.ci.paired.judgement import (
    PairedLimits,
    PairedSamples,
    PairedVerdict,
    confirm,
    judge,
    larger_by_chance,
    overall,
)

LIMITS = PairedLimits()


def drawn(rng: random.Random, noise: float, slower: float = 0.0, pairs: int = 10) -> PairedSamples:
    """Return values with this relative noise, those of the second version larger by this share."""
    base, head = ([rng.gauss(100, 100 * noise) for _ in range(pairs)] for _ in range(2))
    return PairedSamples(base=base, head=[each * (1 + slower) for each in head])


def verdicts(noise: float, slower: float, rounds: int = 30) -> list[PairedVerdict]:
    """Return what is said of so many batches."""
    rng = random.Random(noise + slower)
    return [judge({"m": drawn(rng, noise, slower)}, LIMITS)[0].verdict for _ in range(rounds)]


def with_u(largest: int) -> tuple[list[float], list[float]]:
    """Return ten values each, of which those of the first are the larger ones in this many pairs."""
    below, part = divmod(largest, 10)
    head = [-1.0 - each for each in range(below)] + [9.5 - part] * bool(part)
    return [float(each) for each in range(10)], head + [20.0 + each for each in range(10 - len(head))]


@pytest.mark.parametrize(("largest", "p"), [(19, 0.01), (27, 0.05)])
def test_chances_are_those_of_the_table(largest: int, p: float) -> None:
    """The critical values of U for two samples of ten, one-sided (Mann and Whitney 1947, Auble 1953)."""
    assert larger_by_chance(*with_u(largest)) <= p < larger_by_chance(*with_u(largest + 1))


@pytest.mark.parametrize("values", [(1, 2, 3, 4, 5, 6), (1, 1, 2, 2, 2, 3), (5, 5, 5, 5, 5, 5)])
def test_chances_count_every_choice(values: tuple[float, ...]) -> None:
    """Also of equal values: as counted one by one."""
    base, head = values[:3], values[3:]

    def above(some: tuple[float, ...], others: tuple[float, ...]) -> float:
        return sum((one > two) + (one == two) / 2 for one in some for two in others)

    choices = []
    for places in combinations(range(6), 3):
        rest = [values[each] for each in range(6) if each not in places]
        choices.append((tuple(values[each] for each in places), tuple(rest)))
    as_high = sum(above(chosen, rest) >= above(head, base) for chosen, rest in choices)

    assert larger_by_chance(base, head) == as_high / len(choices)


def test_a_slowdown_of_a_tenth_is_told_from_noise() -> None:
    """With the spread of CPU times, 2 %: it is always seen, and nothing else is."""
    assert set(verdicts(0.02, 0.10)) == {"regression"}
    assert "regression" not in verdicts(0.02, 0.0)


def test_noise_that_hides_a_slowdown_is_not_passed() -> None:
    """With the spread of wall times, 25 %, nothing can be told."""
    assert set(verdicts(0.25, 0.0)) == {"inconclusive"}


def test_exact_numbers_are_judged_without_noise() -> None:
    """Counts that are equal pass; a single one more does not, whatever the floor is."""
    said = {
        head: judge({"count": PairedSamples(base=[100] * 10, head=[head] * 10)}, LIMITS)[0].verdict
        for head in (99, 100, 101)
    }
    assert said == {99: "passed", 100: "passed", 101: "regression"}


def test_more_is_better_where_it_says_so() -> None:
    """A rate that falls is a regression, one that rises is not."""
    falls = PairedSamples(base=[100, 101] * 5, head=[80, 81] * 5, better="higher")
    rises = PairedSamples(base=falls.head, head=falls.base, better="higher")
    one, other = judge({"falls": falls, "rises": rises}, LIMITS)
    assert (one.verdict, other.verdict) == ("regression", "passed")
    assert one.change == pytest.approx(0.25, abs=0.01)


def test_one_suspect_among_many_needs_more_than_chance() -> None:
    """What is believed of one metric alone is not believed of one among twenty that are as they were."""
    base, head = with_u(20)
    suspect = PairedSamples(base=[100 + each for each in base], head=[100 + each for each in head])
    same = {f"m{each}": PairedSamples(base=[100.0] * 10, head=[100.0] * 10) for each in range(19)}
    limits = PairedLimits(p=0.05)
    chance = judge({"suspect": suspect}, limits)[0].p

    assert 0.05 / 20 < chance < 0.05
    found = judge({"suspect": suspect, **same}, limits)[0]
    assert found.verdict != "regression"


def test_a_regression_has_to_be_seen_twice() -> None:
    """One that a second batch does not show is inconclusive, never passed."""
    slow = judge({"a": drawn(random.Random(1), 0.01, 0.2), "b": drawn(random.Random(2), 0.01, 0.2)}, LIMITS)
    again = judge({"a": drawn(random.Random(3), 0.01, 0.2), "b": drawn(random.Random(4), 0.01)}, LIMITS)

    assert [each.verdict for each in confirm(slow, again)] == ["regression", "inconclusive"]
    assert overall(confirm(slow, again)) == "regression"


def test_nothing_measured_is_not_passed() -> None:
    """Nor is a metric that is zero."""
    nothing = judge({"m": PairedSamples(base=[0, 0], head=[0, 0])}, LIMITS)
    assert overall([]) == overall(nothing) == "inconclusive"
    assert nothing[0].problem == "not all values are above zero"
