"""Under load requests are answered, and when it is over the index has everything and is right.

Latencies count from when requests were due. They are measurements with goals; what fails and what decides
nothing is in `kvsync.testing.load.service`.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kvsync.testing.benchmarks.gauge import Gauge
from kvsync.testing.load.plan import PLANS
from kvsync.testing.load.run import Loader
from kvsync.testing.load.service import GOALS_S, Served, doubts, failures, judge, slower
from kvsync.testing.results.measurement import Measurements
from kvsync.testing.results.verdicts import Inconclusive
from kvsync.testing.scenarios.scenario import Scenario

pytestmark = pytest.mark.timeout(4500)

WARM_UP_S = 0.5
"""Before each step of a stress: new connections, and code that runs for the first time."""


def test_basic(loader: Loader, scenario: Scenario, profile: str, measurements: Measurements) -> None:
    """At a moderate rate of requests and of events, no more than one request in a hundred fails."""
    offered = loader.offer(PLANS["basic"][profile])

    offered.record(Gauge(measurements, "load: basic", {}))
    scenario.verify()
    judge(offered.phases, failures(offered.phases))


def test_spike(loader: Loader, scenario: Scenario, profile: str, measurements: Measurements) -> None:
    """Ten times the requests for a moment fail no more of them, and soon they are as quick as before."""
    offered = loader.offer(PLANS["spike"][profile])

    offered.record(Gauge(measurements, "load: spike", {}))
    scenario.verify()
    judge(offered.phases, failures(offered.phases))
    before, after = offered.phase("before"), offered.phase("after")
    judge([before, after], slower(before, after))


def test_stress(
    loader: Loader,
    scenario: Scenario,
    profile: str,
    measurements: Measurements,
    record_property: Callable[[str, object], None],
) -> None:
    """Rates grow until the goals are missed, which tells the knee; after that everything is as before."""
    plan, knee, last = PLANS["stress"][profile], 0.0, None
    gauge = Gauge(measurements, "load: stress", {"seconds_each": PLANS["stress"][profile].phases[0].seconds})
    for step in plan.phases:
        offered = loader.offer(replace(plan, phases=(replace(step, name="warm-up", seconds=WARM_UP_S), step)))
        last = offered.phase(step.name)
        p95_ms = 1e3 * last.service.p95_s
        gauge.record(f"{step.name}: p95", p95_ms, "ms", samples=len(last.samples), goal=1e3 * GOALS_S["p95"])
        if not last.reaches_goals:
            break
        knee = step.rate_per_s
    assert last is not None
    is_found = not last.reaches_goals
    record_property("knee", f"{knee:g}/s met the goals, {'a step more did not' if is_found else 'the most'}")
    gauge.record("knee", knee, "1/s", samples=len(last.samples), better="higher")

    after = loader.offer(replace(plan, phases=(replace(plan.phases[0], name="after"),)))
    scenario.verify()
    judge(after.phases, failures(after.phases))
    _require_offered(last, knee)


def _require_offered(last: Served, knee: float) -> None:
    """Raise Inconclusive when the generator gave up before the gateway did: the knee is elsewhere then."""
    if (doubtful := doubts([last])) and not last.is_held_up and not last.failed:
        raise Inconclusive(f"{doubtful[0]}; the knee is at {knee:g}/s or above")
