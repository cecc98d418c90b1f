"""Whether memory grows, told from samples of it."""

import pytest

from kvsync.testing.load.vitals import Vitals, growth, most_growth
from kvsync.testing.results.verdicts import Inconclusive

MIB = 1 << 20


def vitals(at: float, mib: float) -> Vitals:
    """Return a sample of memory."""
    return Vitals(at=at, resident=mib * MIB, files=40, tasks=9, sources=4)


def test_growth_is_that_of_the_best_line() -> None:
    """Ups and downs around a line of 6 MiB in a minute."""
    noisy = [vitals(at, 60 + at / 10 + (-1) ** at) for at in range(61)]

    assert growth(noisy) / MIB == pytest.approx(6, abs=0.1)


def test_a_peak_that_goes_is_no_growth() -> None:
    """A burst of requests takes memory for a moment."""
    burst = [vitals(at, 90 if 29 <= at <= 31 else 60) for at in range(61)]

    assert growth(burst) / MIB == pytest.approx(0, abs=0.1)


def test_few_samples_tell_no_growth() -> None:
    """A line through four of them is chance."""
    with pytest.raises(Inconclusive, match="4 samples of memory are too few, 5 are needed"):
        growth([vitals(at, 60) for at in range(4)])


def test_a_long_time_may_grow_more() -> None:
    """16 MiB at once, and as much in an hour."""
    assert most_growth([vitals(0, 60), vitals(0, 60)]) == 16 * MIB
    assert most_growth([vitals(600, 60), vitals(7800, 60)]) == 48 * MIB
