"""Trends, and where they change."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kvsync.ci.archive.records import PastRun, PastStage
from kvsync.ci.site.trend import change, trends
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import Outcome
from tests.unit.ci.past_runs import RUN


def run(number: int, seconds: float, outcome: Outcome = Outcome.PASSED, profile: str = "quick") -> PastRun:
    """Return a run with one stage."""
    return replace(
        RUN,
        run=f"run-{number}",
        started_at=RUN.started_at + timedelta(hours=number),
        scope=replace(RUN.scope, profile=profile),
        stages=(PastStage(name="unit", outcome=outcome, duration_s=seconds),),
    )


@pytest.mark.parametrize(
    ("values", "at"),
    [
        ([10.0, 11, 10, 9, 10, 10, 15, 16, 15, 14, 15], 6),
        ([15.0, 16, 15, 14, 15, 10, 11, 10, 9, 10], 5),
        ([10.0] * 5 + [20.0] * 4, None),
        ([10.0] * 6 + [11.0] * 6, None),
        ([5.0, 15, 7, 14, 5, 16, 8, 15, 6, 14, 9, 15], None),
        ([10.0] * 12, None),
        ([10.0] * 7 + [90.0] + [10.0] * 7, None),
        ([0.0] * 5 + [0.0] * 5, None),
        ([], None),
    ],
    ids=["rise", "fall", "too few after", "too little", "noise", "level", "one bad day", "nothing", "empty"],
)
def test_a_change_of_level(values: list[float], at: int | None) -> None:
    """A change lasts, is of a fifth at least, and stands out of what the values do anyway."""
    assert change(values) == at


def test_a_series_for_each_scope() -> None:
    """Profiles are not mixed, a stage that did not pass has no duration, and one point is no trend."""
    runs = [run(5, 9.0, profile="full"), run(4, 3.0), run(3, 90.0, Outcome.FAILED), run(2, 2.0), run(1, 1.0)]

    (found,) = trends(runs, {}, most=2)

    assert (found.scope.profile, found.name, found.values) == ("quick", "stage unit", [2.0, 3.0])


def test_measurements_by_their_conditions() -> None:
    """A number measured under other conditions is another series."""
    measured = {
        f"run-{number}": [
            Measurement(
                name="routing",
                metric="p99",
                value=float(number * pods),
                unit="ms",
                samples=10,
                better="lower",
                goal=None,
                parameters={"pods": pods},
            )
            for pods in (1, 8)
        ]
        for number in (1, 2)
    }

    found = trends([run(2, 0), run(1, 0)], measured, most=9)

    assert [(each.name, each.values) for each in found] == [
        ("routing p99, pods 1", [1.0, 2.0]),
        ("routing p99, pods 8", [8.0, 16.0]),
    ]
