"""Requests through the gateway go where their prefix is, and the gateway knows how much of it."""

from itertools import product

import pytest

from kvsync.testing import Scenario, Void, by_pod
from kvsync.testing.traffic.trace import generate

pytestmark = pytest.mark.timeout(400)

ENCODINGS = list(product(("array", "map"), (8, 32), ("old", "new")))
"""Events as arrays or maps, hashes as integers or digests, replays framed as before or since vLLM 0.26."""


def test_requests_follow_their_prefix(scenario: Scenario) -> None:
    """A prompt's second request goes to the pod that holds its prefix, which has as much as predicted."""
    scenario.cluster.deploy("qwen", 3)
    conversations = [(scenario.ask("qwen", tokens), tokens) for tokens in map(scenario.prompt, range(1, 9))]
    scenario.verify()

    for blocks, (first, tokens) in enumerate(conversations, start=1):
        second = scenario.ask("qwen", scenario.prompt(2, after=tokens))
        assert (second.pod, second.selection, second.source_state) == (first.pod, "prefix_match", "exact")
        assert (second.matched_blocks, second.predicted, second.cached_tokens) == (
            blocks,
            blocks * 16,
            blocks * 16,
        )
    scenario.verify()


def test_every_encoding_is_understood(scenario: Scenario) -> None:
    """One gateway follows pods of every generation of the wire, live and by replay, all at once."""
    pods = scenario.cluster.deploy_each(
        {
            f"{events_as}-{width}-{layout}": {
                "events_as": events_as,
                "hash_width": width,
                "replay_layout": layout,
            }
            for events_as, width, layout in ENCODINGS
        }
    )
    live, missed = scenario.prompt(3), scenario.prompt(2)
    for pod in pods:
        scenario.ask(pod.model, live)
        scenario.admin(pod).disturb(drop=1.0)
        scenario.ask(pod.model, missed)
        scenario.admin(pod).disturb()
        scenario.ask(pod.model, scenario.prompt(1))

    for pod in pods:
        assert scenario.holders(pod.model, live) == {pod.name: 3}
        assert scenario.holders(pod.model, missed) == {pod.name: 2}
    scenario.verify()


def test_a_restarted_gateway_learns_everything_again(scenario: Scenario) -> None:
    """An index rebuilt from replays alone is the one that followed every event."""
    pods = scenario.cluster.deploy("qwen", 2, capacity=64)
    for request in generate(scenario.seed, 20, model="qwen"):
        scenario.send([request], pod=pods[request.number % 2])
    scenario.verify()
    before = scenario.view.dumps()

    scenario.cluster.restart_gateway()
    scenario.verify()
    assert scenario.view.dumps() == before


def test_eviction_pressure(scenario: Scenario) -> None:
    """While caches overflow, the index forgets exactly what each pod evicts, and when that pod does."""
    pods = scenario.cluster.deploy("qwen", 2, capacity=96)
    routed = scenario.send(generate(scenario.seed, 60, model="qwen"), workers=4)
    shared = generate(scenario.seed + 1, 30, model="qwen")
    # In opposite orders, so that blocks which both pods held are evicted by one of them first.
    direct = [*scenario.send(shared, pod=pods[0]), *scenario.send(reversed(shared), pod=pods[1])]
    assert [answer.error for answer in (*routed, *direct) if not answer.ok] == []
    scenario.verify()

    evicted = sum(len(batch.removed) for batch in scenario.cluster.announced())
    if evicted < 100:
        raise Void(f"only {evicted} blocks were evicted")
    assert set(by_pod(routed)) == {pod.name for pod in pods}


def test_one_of_two_copies_is_evicted(scenario: Scenario) -> None:
    """A block that the pod holds twice, as a fully cached prompt leaves it, survives the first eviction."""
    (pod,) = scenario.cluster.deploy("qwen", capacity=16)
    whole = scenario.prompt(4)[:-1]
    for _ in range(2):
        scenario.ask("qwen", whole)
    scenario.ask("qwen", scenario.prompt(11))

    announced = scenario.cluster.announced()
    assert [(len(batch.stored), len(batch.removed)) for batch in announced] == [(4, 0), (1, 0), (11, 1)]
    assert scenario.holders("qwen", whole) == {pod.name: 4}
    scenario.ask("qwen", scenario.prompt(1))
    assert scenario.holders("qwen", whole) == {pod.name: 3}
    scenario.verify()
