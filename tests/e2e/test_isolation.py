"""What one pod, model, adapter or tenant caches is never taken for another one's."""

import pytest

from kvsync.testing import Scenario

pytestmark = [pytest.mark.timeout(400), pytest.mark.invariant]


def test_multi_model(scenario: Scenario) -> None:
    """Two models with two pods each share neither entries nor requests, whatever prompts they share."""
    pods = [*scenario.cluster.deploy("qwen", 2), *scenario.cluster.deploy("llama", 2)]
    shared, own = scenario.prompt(3), scenario.prompt(2)
    for pod in pods:
        scenario.ask(pod.model, shared, pod=pod)
    scenario.ask("llama", own, pod=pods[3])

    assert scenario.holders("qwen", shared) == {pod.name: 3 for pod in pods[:2]}
    assert scenario.holders("llama", shared) == {pod.name: 3 for pod in pods[2:]}
    assert scenario.holders("qwen", own) == {}
    answer = scenario.ask("llama", own)
    assert (answer.pod, answer.predicted, answer.cached_tokens) == (pods[3].name, 32, 32)
    scenario.verify()


def test_pod_isolation(scenario: Scenario) -> None:
    """What one pod evicts stays found on another one that still holds it."""
    one, two = scenario.cluster.deploy("qwen", 2, capacity=16)
    shared = scenario.prompt(6)
    for pod in (one, two):
        scenario.ask("qwen", shared, pod=pod)
    assert scenario.holders("qwen", shared) == {one.name: 6, two.name: 6}

    scenario.ask("qwen", scenario.prompt(15), pod=one)
    assert scenario.holders("qwen", shared) == {two.name: 6}
    scenario.verify()


def test_lora_isolation(scenario: Scenario) -> None:
    """Base model and adapters compute the same prompt apart, and are found apart."""
    (pod,) = scenario.cluster.deploy("qwen", loras=("sql", "chat"))
    tokens = scenario.prompt(3)
    for model in ("qwen", "sql"):
        first = scenario.ask(model, tokens)
        scenario.verify()
        second = scenario.ask(model, tokens)
        assert [(each.predicted, each.cached_tokens) for each in (first, second)] == [(0, 0), (48, 48)]

    assert scenario.holders("qwen", tokens) == {pod.name: 3}
    assert scenario.holders("qwen", tokens, lora="sql") == {pod.name: 3}
    assert scenario.holders("qwen", tokens, lora="chat") == {}
    assert scenario.verify().blocks == 6


def test_cache_salt_isolation(scenario: Scenario) -> None:
    """A prompt with a cache salt is found only with that salt, as the engine reuses it."""
    (pod,) = scenario.cluster.deploy("qwen")
    tokens = scenario.prompt(3)
    found = []
    for salt in (None, "tenant", "tenant", "other"):
        answer = scenario.ask("qwen", tokens, cache_salt=salt)
        found.append((salt, answer.predicted, answer.cached_tokens))
        scenario.verify()

    assert found == [(None, 0, 0), ("tenant", 0, 0), ("tenant", 48, 48), ("other", 0, 0)]
    assert scenario.holders("qwen", tokens, salt="tenant") == {pod.name: 3}
    assert scenario.holders("qwen", tokens, salt="nobody") == {}
    scenario.verify()
