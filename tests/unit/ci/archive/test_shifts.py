"""Where measurements move to another level."""

import random

import pytest

from kvsync.ci.archive.shifts import shifts


def nights(seed: int, spread: float, step: float = 0.0, since: int = 60, until: int = 60) -> list[float]:
    """Return 60 values around 100, those from one night until another larger by a share."""
    rng = random.Random(seed)
    values = [rng.gauss(100, 100 * spread) for _ in range(60)]
    return [value * (1 + step) if since <= at < until else value for at, value in enumerate(values)]


@pytest.mark.parametrize(
    ("series", "otava"),
    [
        (nights(1, 0.03), []),
        (nights(2, 0.03, 0.10, 56), [55]),
        (nights(3, 0.03, 0.10, 50), [50]),
        (nights(4, 0.03, -0.20, 40), [40]),
        (nights(5, 0.06, 0.30, 52), [52]),
        (nights(6, 0.03, 0.15, 20, 40), [20, 40]),
        (nights(7, 0.01, 0.06, 55), [55]),
        (nights(8, 0.03, 0.10, 30), [31]),
    ],
    ids=["none", "4 nights", "10 nights", "faster", "noisy", "and back", "small", "long ago"],
)
def test_shifts_are_those_that_otava_sees(series: list[float], otava: list[int]) -> None:
    """As apache-otava 0.8.0 said of these series, within two nights (window 50, p 0.001, magnitude 5 %)."""
    found = shifts(series)

    assert len(found) == len(otava)
    assert all(abs(shift.at - at) <= 2 for shift, at in zip(found, otava, strict=True))


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([10.0] * 20 + [12.0] * 4, [20]),
        ([10.0] * 20 + [12.0] * 3, []),
        ([10.0] * 5 + [20.0] * 5, []),
        ([10.0] * 20 + [10.4] * 20, []),
        ([10.0, 11, 10, 9] * 6 + [90.0] + [10.0, 11, 10, 9] * 3, []),
        ([10.0] * 20 + [12.0] * 20 + [9.0] * 20, [20, 40]),
        ([0.0] * 20 + [1.0] * 20, [20]),
        ([0.0] * 40, []),
        ([], []),
    ],
    ids=[
        *("four nights", "three nights", "too short", "too little", "one bad night", "twice"),
        *("from nothing", "level", "empty"),
    ],
)
def test_a_shift_lasts_and_matters(values: list[float], places: list[int]) -> None:
    """For four nights at least, by a twentieth at least; chance would not do it in one of a thousand."""
    assert [each.at for each in shifts(values)] == places


def test_both_levels_are_told() -> None:
    """As the medians on either side, and the share by which it rose."""
    (found,) = shifts([10.0] * 20 + [12.0] * 10)

    assert (found.before, found.after, round(found.change, 3)) == (10, 12, 0.2)
