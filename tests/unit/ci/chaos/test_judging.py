"""What is concluded from the requests during a fault: each criterion, and when nothing can be concluded."""

import math
from dataclasses import replace

import pytest

from kvsync.ci.chaos.judging import UnderFault, checks, recovered_at, served, unsteady, unsteady_after_all
from kvsync.ci.project.chaos_stage import Criteria
from kvsync.testing.faults.fault import PodPause
from kvsync.testing.traffic.service import Sample, Service


def service(**changes: float) -> Service:
    """Return a service at which nothing was wrong."""
    well = Service(
        requests=500, availability=1.0, rate_per_s=50.0, p95_s=0.1, slowest_s=0.1, control_p95_s=math.nan
    )
    return replace(well, **changes)  # type: ignore[arg-type]  # the counts among them are whole


WELL = UnderFault(
    fault=PodPause(pod="api"), criteria=Criteria(), baseline=service(), during=service(), recovery_s=0.0
)


def judged(seen: UnderFault) -> dict[str, str]:
    """Return how each criterion ended."""
    return {each.name.removeprefix("a: "): each.kind for each in checks("a", seen)}


def samples(text: str, every_s: float = 0.25) -> list[Sample]:
    """Return requests from second 10 on, one for each character: `.` was served, `x` not."""
    return [
        Sample(f="request", due=10 + number * every_s, late_s=0.0, latency_s=3.0, ok=character == ".")
        for number, character in enumerate(text)
    ]


@pytest.mark.parametrize(
    ("during", "broken"),
    [
        ({}, set()),
        ({"availability": 0.991}, set()),
        ({"availability": 0.9899}, {"availability", "errors"}),
        ({"p95_s": 0.2}, set()),
        ({"p95_s": 0.2001}, {"p95"}),
    ],
)
def test_each_criterion_is_broken_beyond_its_limit(during: dict[str, float], broken: set[str]) -> None:
    """And kept to at it."""
    found = judged(replace(WELL, during=service(**during)))

    assert {name for name, kind in found.items() if kind == "failed"} == broken
    assert {name for name, kind in found.items() if kind == "passed"} == {*found} - broken


def test_errors_are_counted_from_those_of_the_baseline() -> None:
    """What failed before is none of the fault's doing, but the availability is what it is."""
    seen = replace(WELL, baseline=service(availability=0.97), during=service(availability=0.965))

    assert judged(seen) == {
        "availability": "failed",
        "errors": "passed",
        "p95": "passed",
        "recovery": "passed",
    }


def test_a_p95_that_is_quick_enough_or_of_no_interest() -> None:
    """Twice of next to nothing is still nothing; without a limit there is no check."""
    seen = replace(WELL, baseline=service(p95_s=0.002), during=service(p95_s=0.05))

    assert judged(seen)["p95"] == "passed"
    assert judged(replace(seen, during=service(p95_s=0.0501)))["p95"] == "failed"
    assert "p95" not in judged(replace(seen, criteria=Criteria(p95=None)))


@pytest.mark.parametrize(
    ("recovery_s", "kind"), [(0.0, "passed"), (30.0, "passed"), (30.01, "failed"), (None, "failed")]
)
def test_a_recovery_has_its_time(recovery_s: float | None, kind: str) -> None:
    """One that did not come is a failure, not a lack of evidence."""
    assert judged(replace(WELL, recovery_s=recovery_s))["recovery"] == kind


def test_too_few_requests_decide_nothing() -> None:
    """For a p95 more are needed than for a share; what could not be sent counts neither."""
    few, fewest = (judged(replace(WELL, during=service(requests=count))) for count in (199, 19))
    late = judged(replace(WELL, during=service(late=26)))

    assert few == {
        "availability": "passed",
        "errors": "passed",
        "p95": "inconclusive",
        "recovery": "passed",
    }
    assert {fewest["availability"], fewest["errors"], fewest["p95"]} == {"inconclusive"}
    assert {late["availability"], late["errors"], late["p95"]} == {"inconclusive"}


def test_a_p95_is_of_what_was_served() -> None:
    """Answers that say no at once make nothing quick."""
    quick = [replace(each, latency_s=0.001) for each in samples("x" * 300)]
    found = served([*samples("." * 100), *quick], 10.0, 100.0)

    assert (found.requests, found.availability, found.p95_s) == (400, 0.25, 3.0)
    assert judged(replace(WELL, during=replace(found, p95_s=0.1)))["p95"] == "inconclusive"


def test_what_is_not_steady_cannot_be_disturbed() -> None:
    """With too few requests, too few answers, or requests that were not sent in time."""
    baselines = [service(), service(requests=19), service(availability=0.98), service(late=26)]

    assert [bool(unsteady(each, Criteria())) for each in baselines] == [False, True, True, True]


@pytest.mark.parametrize(
    ("text", "every_s", "is_steady"),
    [
        ("." * 40, 0.05, True),
        ("." * 15 + "x" * 25, 0.05, False),
        ("." * 25 + "x" * 15, 0.05, True),
        ("x" * 20, 0.1, True),
    ],
)
def test_a_baseline_is_judged_again_by_the_answers_that_came_later(
    text: str, every_s: float, is_steady: bool
) -> None:
    """What had waited for more than a second is the baseline's; the last second and too few are not."""
    injected = 10.0 + len(text) * every_s

    why = unsteady_after_all(samples(text, every_s), 10.0, injected, 0.02, Criteria())

    assert (not why) == is_steady


def test_nothing_is_said_of_a_fault_after_a_baseline_that_was_none() -> None:
    """Neither that it was kept to, by a p95 that was long before, nor that it was broken."""
    slow = service(availability=0.6, p95_s=2.2)
    seen = replace(
        WELL, baseline=slow, during=service(availability=0.4, p95_s=4.0), unsteady="no steady state"
    )

    assert set(judged(seen).values()) == {"inconclusive"}
    assert {each.detail for each in checks("a", seen)} == {"no steady state"}


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", None),
        ("....", None),
        (".....", 10.0),
        ("xx......", 10.25),
        ("..x..x.....", 11.25),
        ("..x..x....", None),
        ("xxxxxxxx", None),
    ],
)
def test_recovered_is_what_serves_everything_for_a_second(text: str, at: float | None) -> None:
    """From the last request on that was not served; what was due before the end says nothing."""
    before = replace(samples("x")[0], due=9.9)

    assert recovered_at([before, *samples(text)], ended=10.0) == at


@pytest.mark.parametrize(
    ("text", "at"), [(".....xx......", 11.5), (".....xx..", None), (".......", None), ("...........", 10.0)]
)
def test_nothing_has_recovered_before_the_effect_was_proven(text: str, at: float | None) -> None:
    """What is asked to end goes on serving until it does, for ten seconds if Docker has to kill it."""
    assert recovered_at(samples(text), ended=10.0, proven=11.3) == at
