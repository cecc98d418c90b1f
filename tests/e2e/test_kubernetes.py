"""What only Kubernetes does to gateways and engines: rolling updates, drained nodes, several gateways."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kvsync.testing import GatewayView, NotRun, Scenario, Void, wait_for
from kvsync.testing.load.generator import Generator, RequestStream
from kvsync.testing.load.plan import Phase
from kvsync.testing.oracle.tables import digest
from kvsync.testing.traffic.service import Sample, Service
from kvsync.testing.traffic.trace import generate
from tests.e2e.test_restart import REQUESTS, RING, cached_share

if TYPE_CHECKING:  # local runs collect this file, too, and do without the second that the client takes
    from kvsync.testing.clusters.kubernetes.cluster import KubernetesCluster

pytestmark = [pytest.mark.timeout(900), pytest.mark.kubernetes_only]

AVAILABILITY = 0.99
RATE_PER_S = 25.0
"""On a quiet machine gateways are replaced within 5 s, in which that is more than enough."""
AWAY_S = 60.0
BEGIN_S = 60.0
LONGEST_S = 300.0
"""How long requests are planned for; they end with the change that goes on meanwhile."""
FEWEST_REQUESTS = 50
"""Fewer say nothing about a share of 99 %."""


def require_service(scenario: Scenario, run_dir: Path, change: Callable[[], None], url: str = "") -> None:
    """Fail when requests through the gateway's service, or to `url`, failed from before a change to after it.

    Raises Void when too few were sent.
    """
    stream = RequestStream(
        f="request",
        url=url or scenario.cluster.gateway_url,
        model="qwen",
        phases=[Phase(name="change", seconds=LONGEST_S, rate_per_s=RATE_PER_S)],
        seed=scenario.seed,
    )
    name = f"load-{scenario.cluster.name}"
    with Generator([stream], run_dir=run_dir, name=name, test=scenario.test) as load:
        wait_for(lambda: any(load.records()), what="the first answers", timeout_s=BEGIN_S)
        change()
    samples = [Sample.of(record) for record in load.records()]
    if len(samples) < FEWEST_REQUESTS:
        raise Void(f"only {len(samples)} requests were sent during the change")
    failed = [each.error for each in samples if not each.ok]
    shown = "; ".join(sorted({error[:200] for error in failed})[:5])
    served = Service.of(samples, [])
    assert served.availability >= AVAILABILITY, f"{len(failed)} of {len(samples)} requests failed: {shown}"


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
    """Gateways start and end next to the engines, on few processors: a slow engine is not a missing one."""
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


def test_rolling_update_of_the_gateway(scenario: Scenario, cluster: KubernetesCluster, run_dir: Path) -> None:
    """While every gateway is replaced requests are answered, and the new ones know what the old ones did."""
    cluster.deploy("qwen", 3, capacity=256)
    cluster.scale_gateway(2)
    before = cluster.gateways()

    require_service(scenario, run_dir, cluster.roll_gateways)
    assert not set(before) & set(cluster.gateways())
    scenario.verify()


@pytest.mark.parametrize("takes", [False, True], ids=["from nothing", "from a running one"])
def test_a_rolling_update_keeps_the_hit_rate(
    scenario: Scenario, cluster: KubernetesCluster, run_dir: Path, takes: bool
) -> None:
    """Under traffic, before engines with short rings: new gateways take over what the old ones know."""
    cluster.deploy("qwen", 4, capacity=4096, buffer_steps=RING, time_scale=0.01)
    cluster.scale_gateway(2)
    requests = generate(scenario.seed + 1, REQUESTS, model="qwen", max_tokens=4)
    for _ in range(2):
        before = cached_share(scenario.send(requests))
        scenario.settle()

    variables = {"KVSYNC_READINESS__KNOWN_SHARE": "1", "KVSYNC_ROUTING__EXPECTED_S": "0"}
    source = {"KVSYNC_SNAPSHOTS__TAKE_FROM": cluster.gateway_address()} if takes else {}
    require_service(scenario, run_dir, lambda: cluster.roll_gateways(**variables, **source))
    after = cached_share(scenario.send(requests))

    scenario.history.append(f="rolling update", takes=takes, before=before, after=after)
    print(f"\ncached before a rolling update {before:.1%}, after it {after:.1%}, taking over: {takes}")
    if takes:
        assert after > before - 0.05
        scenario.verify()
    else:
        assert after < before - 0.05


@pytest.mark.full
def test_node_drain(scenario: Scenario, cluster: KubernetesCluster, run_dir: Path) -> None:
    """A drained node's engines come back on another one; requests are answered, and the index follows."""
    cluster.deploy("qwen", 6, capacity=256)
    cluster.scale_gateway(2)
    scenario.send(generate(scenario.seed + 1, 30, model="qwen"), workers=4)
    nodes = {pod.name: pod.node for pod in cluster.states()}
    drained = min(nodes.values())
    if len(set(nodes.values())) < 2:
        raise Void(f"all engines run on {drained}: there is no node for them to go to")

    try:
        require_service(scenario, run_dir, lambda: cluster.drain(drained))
        assert drained not in {pod.node for pod in cluster.states()}
        scenario.verify()
    finally:
        cluster.uncordon(drained)


@pytest.mark.full
def test_api_server_away(scenario: Scenario, cluster: KubernetesCluster, run_dir: Path) -> None:
    """While the API server refuses connections the gateway keeps serving, says so, and misses nothing."""
    from kvsync.testing.faults.node.api_outage import api_server_refuses, open_node_port

    if not cluster.site.machine.kind:
        raise NotRun("only the API server of a Kind cluster can be sent away, and this one is not Kind's")
    pods = cluster.deploy("qwen", 3, capacity=256)
    url = open_node_port(cluster.site.api, cluster.namespace)
    gateway = GatewayView(url)

    def a_minute_without() -> None:
        with api_server_refuses(cluster.site.machine, cluster.site.api, cluster.site.ledger):
            time.sleep(AWAY_S)
            assert "no news of pods since" in gateway.problem()
            assert gateway.routable().keys() == {pod.name for pod in pods}

    require_service(scenario, run_dir, a_minute_without, url)
    cluster.delete_pod(pods[0].name)
    cluster.scale("qwen", 4)
    assert gateway.problem() == ""
    scenario.verify()
