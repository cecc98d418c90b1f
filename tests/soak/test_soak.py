"""After a long load with pods coming and going the system is as it was, and served all the time."""

from collections.abc import Callable
from typing import Protocol

import pytest

from kvsync.testing.benchmarks.gauge import Gauge
from kvsync.testing.load.plan import LoadPlan
from kvsync.testing.load.run import Offered
from kvsync.testing.load.service import failures, judge
from kvsync.testing.load.vitals import Vitals, await_rest, growth, most_growth
from kvsync.testing.results.measurement import Measurements
from kvsync.testing.results.verdicts import Void
from kvsync.testing.scenarios.scenario import Scenario

pytestmark = pytest.mark.timeout(9000)  # the first test waits for the load of all


class Soak(Protocol):
    """What the fixture gives; see conftest."""

    scenario: Scenario
    plan: LoadPlan
    offered: Offered
    before: Vitals | None
    changes: int


def test_requests(soak: Soak, measurements: Measurements) -> None:
    """While pods come and go, no more than one request in a hundred fails."""
    soak.offered.record(Gauge(measurements, "load: soak", {"changes": soak.changes}))
    if not soak.changes:
        raise Void("no pod came or went")
    judge(soak.offered.phases, failures(soak.offered.phases))


def test_index(soak: Soak) -> None:
    """When the load is over the index has everything that pods published, and is right."""
    soak.scenario.verify()


def test_memory(
    soak: Soak, measurements: Measurements, record_property: Callable[[str, object], None]
) -> None:
    """After the warm-up the gateway's memory does not grow."""
    Vitals.of(soak.scenario.cluster, 0.0)  # or it cannot be seen at all
    warm = [each for each in soak.offered.vitals if each.at >= soak.plan.starts[1]]
    grown = growth(warm)
    seconds = warm[-1].at - warm[0].at
    gauge = Gauge(measurements, "load: soak", {"changes": soak.changes})
    gauge.record("memory", warm[-1].resident / 2**20, "MiB", samples=len(warm))
    gauge.record("memory growth", grown / 2**20, "MiB", samples=len(warm), goal=most_growth(warm) / 2**20)
    record_property("growth_mib_per_h", f"{grown / 2**20 * 3600 / seconds:.1f}")
    most = most_growth(warm)
    words = f"memory grew by {grown / 2**20:.1f} MiB in {seconds:.0f} s, more than {most / 2**20:.1f} MiB"
    judge(soak.offered.phases, [words] if grown > most else [])


def test_nothing_is_left_open(soak: Soak) -> None:
    """When the load is over the gateway has no more open files, tasks and sources than before it."""
    cluster = soak.scenario.cluster
    await_rest(cluster, soak.before or Vitals.of(cluster, 0.0))
