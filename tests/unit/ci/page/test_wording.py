"""Numbers and times of the report, as people read them."""

import math

import pytest

from kvsync.ci.page.wording import duration, number, quantity


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (1.73e-05, "17.3 µs"),
        (0.0009994, "999 µs"),
        (0.0009999, "1 ms"),
        (0.012, "12 ms"),
        (0.9999, "1 s"),
        (12.4, "12.4 s"),
        (185, "3 min 5 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """Each in the unit that needs no zeros and no exponent."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (3.14159, "3.14"), (999.7, "1,000"), (12345, "12,345")]
)
def test_numbers(value: float, text: str) -> None:
    """Three digits say enough, and none is an exponent for being large."""
    assert number(value) == text


def test_quantities() -> None:
    """Seconds are durations; other units stay what they are, and some have none."""
    assert quantity(2e-05, "s") == "20 µs"
    assert quantity(3.2, "MiB") == "3.2 MiB"
    assert quantity(200, "") == "200"
    assert quantity(math.nan, "s") == "nan s"
