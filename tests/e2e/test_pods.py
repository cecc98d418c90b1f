"""Pods come, go and move: the index follows each of them, and only what it holds now."""

import time

import pytest

from kvsync.testing import Measurement, Measurements, Scenario, compare_at_rest, wait_for

pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize("settings", [pytest.param({"block_size": 4}, id="blocks of 4 tokens")])
def test_happy_path(scenario: Scenario) -> None:
    """What one pod computed is found by a lookup, on that pod."""
    (pod,) = scenario.cluster.deploy("qwen", block_size=4)
    tokens = (100, 101, 102, 103, 104)
    scenario.ask("qwen", tokens)

    assert scenario.holders("qwen", tokens) == {pod.name: 1}
    scenario.verify()


def test_multi_pod(scenario: Scenario) -> None:
    """Each of three pods is found by its own prompts and by no others."""
    pods = scenario.cluster.deploy("qwen", 3)
    prompts = {pod.name: scenario.prompt(2 + number) for number, pod in enumerate(pods)}
    for pod in pods:
        scenario.ask("qwen", prompts[pod.name], pod=pod)

    held = {name: scenario.holders("qwen", tokens) for name, tokens in prompts.items()}
    assert held == {pod.name: {pod.name: 2 + number} for number, pod in enumerate(pods)}
    scenario.verify()


def test_pod_lifecycle(scenario: Scenario) -> None:
    """Through growing, replacement, shrinking and a restart the index holds what the living pods hold."""
    cluster, tokens = scenario.cluster, scenario.prompt(4)
    cluster.deploy("qwen")
    scenario.ask("qwen", tokens)
    pods = cluster.scale("qwen", 3)
    for pod in pods[1:]:
        scenario.ask("qwen", tokens, pod=pod)
    assert scenario.holders("qwen", tokens) == {pod.name: 4 for pod in pods}

    replacement = cluster.delete_pod(pods[1].name)
    assert replacement.name not in {pod.name for pod in pods}
    assert scenario.holders("qwen", tokens) == {pods[0].name: 4, pods[2].name: 4}
    scenario.ask("qwen", tokens, pod=replacement)
    scenario.verify()

    (left,) = cluster.scale("qwen", 1)
    assert scenario.holders("qwen", tokens) == {left.name: 4}
    cluster.restart_pod(left.name)
    assert scenario.holders("qwen", tokens) == {}
    scenario.ask("qwen", tokens)
    assert scenario.holders("qwen", tokens) == {left.name: 4}
    scenario.verify()


def test_ip_change_migration(scenario: Scenario) -> None:
    """A pod that comes back at another address has lost its old entries and gets new ones."""
    cluster, old, new = scenario.cluster, scenario.prompt(4), scenario.prompt(3)
    (before,) = cluster.deploy("qwen")
    scenario.ask("qwen", old)
    assert scenario.holders("qwen", old) == {before.name: 4}

    after = cluster.move_pod(before.name)
    assert after.url != before.url
    assert scenario.holders("qwen", old) == {}
    assert scenario.ask("qwen", new).pod == after.name
    assert scenario.holders("qwen", new) == {after.name: 3}
    scenario.verify()


@pytest.mark.parametrize("settings", [{"subscriber": {"probe_interval_s": 0.5}}], ids=["probing soon"])
@pytest.mark.parametrize("heard", [True, False], ids=["heard of", "in silence"])
def test_engine_restart_in_place(scenario: Scenario, heard: bool) -> None:
    """An engine that restarts behind an open connection is noticed, by its next batch or by a probe."""
    (pod,) = scenario.cluster.deploy("qwen")
    old, new = scenario.prompt(4), scenario.prompt(3)
    for tokens in (old, scenario.prompt(2)):
        scenario.ask("qwen", tokens)
    assert scenario.holders("qwen", old) == {pod.name: 4}

    scenario.admin(pod).restart()
    if heard:
        scenario.ask("qwen", new)
        assert scenario.holders("qwen", new) == {pod.name: 3}
    assert scenario.holders("qwen", old) == {}
    scenario.ask("qwen", old)
    assert scenario.holders("qwen", old) == {pod.name: 4}
    scenario.verify()


def test_lost_history_is_admitted(scenario: Scenario) -> None:
    """A gateway that comes too late for a pod's history says so, and what it knows of the rest is right."""
    (pod,) = scenario.cluster.deploy("qwen", buffer_steps=2)
    tokens = scenario.prompt(2)
    for _ in range(4):
        scenario.ask("qwen", tokens)
        tokens = scenario.prompt(2, after=tokens)
    scenario.verify()

    scenario.cluster.restart_gateway()
    source = wait_for(
        lambda: next((each for each in scenario.view.sources() if each.state == "degraded"), None),
        what="the source is degraded",
        timeout_s=10,
        last_seen=scenario.view.sources,
    )
    assert (source.reason, source.last) == (
        "history before frame 2 is gone, until the engine clears its cache",
        3,
    )
    comparison, _ = compare_at_rest(scenario.cluster, timeout_s=0)
    assert {each.kind for each in comparison.violations} == {"lost", "unconverged", "lookup"}, str(comparison)

    scenario.admin(pod).restart()
    scenario.ask("qwen", tokens)
    scenario.verify()


def test_prefix_reset(scenario: Scenario) -> None:
    """A pod that clears its cache loses all its entries, the other pods keep theirs."""
    one, two = scenario.cluster.deploy("qwen", 2)
    tokens = scenario.prompt(4)
    for pod in (one, two):
        scenario.ask("qwen", tokens, pod=pod)
    assert scenario.holders("qwen", tokens) == {one.name: 4, two.name: 4}

    scenario.admin(one).clear()
    assert scenario.holders("qwen", tokens) == {two.name: 4}
    assert scenario.ask("qwen", tokens).pod == two.name
    scenario.verify()


@pytest.mark.parametrize(
    "pods",
    [
        10,
        pytest.param(50, marks=[pytest.mark.full, pytest.mark.timeout(300)]),
        pytest.param(100, marks=[pytest.mark.full, pytest.mark.timeout(600)]),
    ],
)
def test_large_scale(scenario: Scenario, pods: int, measurements: Measurements) -> None:
    """Every pod of many is followed exactly while all of them publish at once."""
    handles = scenario.cluster.deploy("qwen", pods)
    prompts = [(pod, scenario.prompt(3)) for pod in handles for _ in range(10)]
    began = time.monotonic()
    for pod, tokens in prompts:
        scenario.ask("qwen", tokens, pod=pod)
    published = time.monotonic()
    scenario.settle()

    measurements.add(
        Measurement(
            name="large scale",
            metric="settled after the last request",
            value=time.monotonic() - published,
            unit="s",
            samples=1,
            parameters={"pods": pods, "requests": len(prompts), "sending_s": round(published - began, 1)},
        )
    )
    comparison = scenario.verify()
    assert (comparison.pods, comparison.blocks) == (pods, 30 * pods)
