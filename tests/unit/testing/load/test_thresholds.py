"""Thresholds as people write them."""

import math
import re

import pytest

from kvsync.testing.load.http.thresholds import parse, wrong_names


@pytest.mark.parametrize(
    ("text", "measure", "request_name", "phase", "limit"),
    [
        ("p95 of read < 10 ms", "p95", "read", "", 0.01),
        ("p99.9 of write in spike<=50ms", "p99.9", "write", "spike", 0.05),
        ("mean in soak < 2 s", "mean", "", "soak", 2.0),
        ("errors of read < 1 %", "errors", "read", "", 0.01),
        ("rate > 1000", "rate", "", "", 1000.0),
        ("rate >= 10/s", "rate", "", "", 10.0),
        ('max of "GET /a b" < 3 m', "max", "GET /a b", "", 180.0),
    ],
)
def test_what_can_be_said(text: str, measure: str, request_name: str, phase: str, limit: float) -> None:
    """A measure, perhaps of a request and in a phase, and a limit with its unit."""
    threshold = parse(text)

    assert (threshold.measure, threshold.request, threshold.phase) == (measure, request_name, phase)
    assert threshold.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fast", "is not a threshold; write one such as"),
        ("p95 10 ms", "is not a threshold"),
        ("p95 > 10 ms", "the worse it is, the better it would hold; write <"),
        ("errors >= 1 %", "the worse it is, the better it would hold; write <="),
        ("errors < 100 %", "it holds whatever fails; write a share below 100 %"),
        ("p95 < -1 ms", "is not a threshold"),
        ("erors < 1 %", "no measure 'erors'; is 'errors' meant?"),
        ("p101 < 1 ms", "no measure 'p101'"),
        ("p95 < 10", "a time needs a unit; write it such as 10 ms"),
        ("errors < 0.05", "a share needs a unit; write it such as 5 %"),
        ("rate > 10 ms", "no unit 'ms' of a rate"),
        ("p95 < 10 parsecs", "no unit 'parsecs' of a time"),
    ],
)
def test_what_is_wrong_says_how_to_mend_it(text: str, said: str) -> None:
    """The place is the list of thresholds; the text itself is repeated."""
    with pytest.raises(ValueError, match=re.escape(said)):
        parse(text)


def test_names_that_there_are_not() -> None:
    """Of a script the requests are not known, so any name may be right."""
    threshold = parse("p95 of raed in spyke < 1 ms")

    assert list(wrong_names(threshold, ["read"], ["spike"])) == [
        "'p95 of raed in spyke < 1 ms': there is no request 'raed'; is 'read' meant?",
        "'p95 of raed in spyke < 1 ms': there is no phase 'spyke'; is 'spike' meant?",
    ]
    assert len(list(wrong_names(threshold, None, []))) == 1


def test_a_value_holds_or_not() -> None:
    """What is not a number holds nothing."""
    assert parse("rate > 10").holds(11)
    assert not parse("rate > 10").holds(10)
    assert not parse("p95 < 10 ms").holds(math.nan)
    assert [parse(each).shown(0.0123) for each in ("p95 < 1 s", "errors < 1 %")] == ["12.3 ms", "1.23 %"]
