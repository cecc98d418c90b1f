"""What comparisons of a commit with itself say of a measure."""

import pytest

from kvsync.ci.paired.calibration import calibrated
from kvsync.ci.paired.judgement import PairedLimits, PairedMetric, PairedSamples, PairedVerdict

SAMPLES = PairedSamples(base=(1, 1), head=(1, 1))


def metric(seen: float | None, verdict: PairedVerdict = "passed") -> PairedMetric:
    """Return what one comparison says."""
    return PairedMetric(name="m", samples=SAMPLES, verdict=verdict, seen=seen)


@pytest.mark.parametrize(
    ("seen", "sees", "can"),
    [
        ([0.04] * 8 + [0.3] * 2, 0.04, True),
        ([0.04] * 7 + [0.3] * 3, 0.3, False),
        ([0.1] * 10, 0.1, True),
        ([0.04] * 7 + [None] * 3, None, False),
    ],
    ids=["8 of 10", "7 of 10", "just", "nothing"],
)
def test_what_is_seen_in_8_of_10_decides(seen: list[float | None], sees: float | None, *, can: bool) -> None:
    """It may not be more than the slowdown that has to be noticed."""
    (found,) = calibrated([[metric(each)] for each in seen])

    assert (found.seen, found.can_gate(PairedLimits())) == (sees, can)


def test_a_false_alarm_is_one_too_many() -> None:
    """However fine the measure is."""
    (found,) = calibrated([[metric(0.01)]] * 9 + [[metric(0.01, "regression")]])

    assert (found.alarms, found.can_gate(PairedLimits())) == (1, False)
    assert [(each.metric, each.value) for each in found.measurements()] == [
        ("aa_false_alarms", 10),
        ("aa_seen", 1),
    ]
    assert str(found) == "compared with itself 10 times, 1 false alarms; one of 1% is seen"
