"""Requests follow their prefix through a real gateway."""

import pytest

from kvsync.testing.scenarios.scenario import Scenario

pytestmark = pytest.mark.timeout(400)


def test_the_second_request_goes_to_the_pod_that_has_its_prefix(scenario: Scenario) -> None:
    """The gateway predicts as many cached tokens as the engine then reuses."""
    scenario.cluster.deploy("demo", 2)
    prompt = scenario.prompt(4)

    first = scenario.ask("demo", prompt)
    scenario.settle()
    second = scenario.ask("demo", prompt)

    assert (second.pod, second.selection) == (first.pod, "prefix_match")
    assert second.predicted == second.cached_tokens == 64
    scenario.verify()
