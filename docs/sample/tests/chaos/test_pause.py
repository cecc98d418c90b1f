"""The service outlives an engine that stands still."""

import time

import pytest

from kvsync.testing.faults.fault import PodPause
from kvsync.testing.faults.holding import Injector, active
from kvsync.testing.scenarios.recovery import await_recovery, problem_of
from kvsync.testing.scenarios.scenario import Scenario
from kvsync.testing.traffic.trace import generate

pytestmark = pytest.mark.timeout(400)


def test_requests_are_answered_while_a_pod_is_paused(scenario: Scenario, injector: Injector) -> None:
    """The other pods answer; once the pod is back, the index says exactly what every pod holds."""
    pods = scenario.cluster.deploy("demo", 3)

    with active(PodPause(pod=pods[0].name), injector, scenario.history):
        answers = scenario.send(generate(scenario.seed, 60, model="demo"), workers=4)

    assert sum(answer.ok for answer in answers) >= 0.95 * len(answers)
    await_recovery(lambda: problem_of(scenario, "demo"), time.monotonic(), scenario.history)
    scenario.verify()
