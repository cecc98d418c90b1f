"""What only Kubernetes does to gateways and engines: rolling updates, drained nodes, several gateways."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from kvsync.testing import GatewayView, NotRun, Scenario, Void
from kvsync.testing.oracle.tables import digest
from kvsync.testing.traffic.sender import Answer, BackgroundTraffic, Sender, availability
from kvsync.testing.traffic.trace import generate

if TYPE_CHECKING:  # local runs collect this file, too, and do without the second that the client takes
    from kvsync.testing.clusters.kubernetes.cluster import KubernetesCluster

pytestmark = [pytest.mark.timeout(900), pytest.mark.kubernetes_only]

AVAILABILITY = 0.99
RATE_PER_S = 10.0
AWAY_S = 60.0
LONGEST_S = 300.0
"""Requests are made for so long; sending ends when what goes on beside it has ended."""
FEWEST_REQUESTS = 50
"""Fewer say nothing about a share of 99 %."""


def during(scenario: Scenario, change: Callable[[], None], url: str = "") -> list[Answer]:
    """Send requests through the gateway's service, or to `url`, from before a change until after it."""
    requests = generate(scenario.seed, round(LONGEST_S * RATE_PER_S), model="qwen", rate_per_s=RATE_PER_S)
    with Sender(url or scenario.cluster.gateway_url, scenario.history) as sender:
        with BackgroundTraffic(sender, requests) as traffic:
            traffic.await_due(1.0)
            change()
        answers = traffic.answers()
    if len(answers) < FEWEST_REQUESTS:
        raise Void(f"only {len(answers)} requests were sent during the change")
    return answers


def test_scaling_up_and_down(scenario: Scenario) -> None:
    """From one engine to five and down to two, the index holds what the living ones hold."""
    cluster, tokens = scenario.cluster, scenario.prompt(4)
    cluster.deploy("qwen")
    for replicas in (1, 5, 2):
        pods = cluster.scale("qwen", replicas)
        assert len(pods) == replicas
        for pod in pods:
            scenario.ask("qwen", tokens, pod=pod)
        assert scenario.holders("qwen", tokens) == {pod.name: 4 for pod in pods}
    scenario.verify()


@pytest.fixture
def settings() -> dict[str, object]:
    """Gateways start and end beside the engines, on few processors: a slow engine is none that is away."""
    return {"health": {"timeout_s": 5.0}}


@pytest.fixture
def cluster(own_cluster: KubernetesCluster) -> KubernetesCluster:
    """A cluster of its own: gateways are added, replaced, and lose their nodes."""
    return own_cluster


def test_two_gateways_agree(scenario: Scenario, cluster: KubernetesCluster) -> None:
    """Two gateways that heard different halves of the story, live and by replay, hold the same index."""
    pods = cluster.deploy("qwen", 3, capacity=128)
    requests = generate(scenario.seed, 60, model="qwen")
    scenario.send(requests[:30], workers=4)
    cluster.scale_gateway(2)
    scenario.send(requests[30:], workers=4)
    scenario.verify()

    views = [GatewayView(url) for url in cluster.gateways()]
    dumps = [view.dumps() for view in views]
    assert [len(dump) for dump in dumps] == [len(pods), len(pods)]
    assert digest(dumps[0]) == digest(dumps[1])


def test_rolling_update_of_the_gateway(scenario: Scenario, cluster: KubernetesCluster) -> None:
    """While every gateway is replaced requests are answered, and the new ones know what the old ones did."""
    cluster.deploy("qwen", 3, capacity=256)
    cluster.scale_gateway(2)
    before = cluster.gateways()

    answers = during(scenario, cluster.roll_gateways)
    assert not set(before) & set(cluster.gateways())
    assert availability(answers) >= AVAILABILITY, _failures(answers)
    scenario.verify()


@pytest.mark.full
def test_node_drain(scenario: Scenario, cluster: KubernetesCluster) -> None:
    """A drained node's engines come back on another one; requests are answered, and the index follows."""
    cluster.deploy("qwen", 6, capacity=256)
    cluster.scale_gateway(2)
    scenario.send(generate(scenario.seed + 1, 30, model="qwen"), workers=4)
    nodes = {pod.name: pod.node for pod in cluster.states()}
    drained = min(nodes.values())
    if len(set(nodes.values())) < 2:
        raise Void(f"all engines run on {drained}: there is no node for them to go to")

    try:
        answers = during(scenario, lambda: cluster.drain(drained))
        assert drained not in {pod.node for pod in cluster.states()}
        assert availability(answers) >= AVAILABILITY, _failures(answers)
        scenario.verify()
    finally:
        cluster.uncordon(drained)


@pytest.mark.full
def test_api_server_away(scenario: Scenario, cluster: KubernetesCluster) -> None:
    """The API server refuses everybody for a minute: the gateway serves on, says so, and misses nothing."""
    from kvsync.testing.faults.node.api_outage import api_server_refuses, door

    if not cluster.site.machine.kind:
        raise NotRun("only the API server of a Kind cluster can be sent away, and this one is not Kind's")
    pods = cluster.deploy("qwen", 3, capacity=256)
    url = door(cluster.site.api, cluster.namespace)
    gateway = GatewayView(url)

    def a_minute_without() -> None:
        with api_server_refuses(cluster.site.machine, cluster.site.api, cluster.site.ledger):
            time.sleep(AWAY_S)
            assert "no news of pods since" in gateway.problem()
            assert gateway.routable().keys() == {pod.name for pod in pods}

    answers = during(scenario, a_minute_without, url)
    assert availability(answers) >= AVAILABILITY, _failures(answers)
    cluster.delete_pod(pods[0].name)
    cluster.scale("qwen", 4)
    assert gateway.problem() == ""
    scenario.verify()


def _failures(answers: list[Answer]) -> str:
    failed = [answer for answer in answers if not answer.ok]
    shown = {f"{answer.status} {answer.error[:200]}" for answer in failed}
    return f"{len(failed)} of {len(answers)} requests failed: {'; '.join(sorted(shown)[:5])}"
