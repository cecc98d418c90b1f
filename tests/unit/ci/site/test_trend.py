"""Trends, and where they change."""

from dataclasses import replace
from datetime import timedelta

from kvsync.ci.archive.records import PastRun, PastStage
from kvsync.ci.site.trend import trends
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


def test_a_change_of_level_has_its_commits() -> None:
    """The last run before it and the first one after; a stage has to take a fifth longer, a measure 5 %."""
    runs = [
        replace(run(number, 10.0 if number < 20 else 11.0), commit=f"{number:02}" * 20)
        for number in range(30)
    ]
    measured = {
        each.run: [
            Measurement(name="apply", metric="cpu", value=each.stages[0].duration_s, unit="us", samples=1)
        ]
        for each in runs
    }

    stage, measure = trends(runs[::-1], measured, most=30)

    assert stage.shifts == []
    (found,) = measure.shifts
    assert measure.said(found) == f"+10.0% at {measure.points[20][0]:%Y-%m-%d %H:%M}, 1919191919..2020202020"


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
