"""Every fault that a Kind cluster can have is carried out, shows, and goes, and leaves no rule in a pod.

The cluster is that of KVSYNC_CI_TEST_MACHINE; what its kernel lacks is skipped. A container that ended before
comes back late, so the faults that end one have pods of their own.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kvsync.ci.cleaning.reapers import reap
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.faults.fault import (
    Bandwidth,
    ClockOffset,
    ContainerKill,
    Corruption,
    CpuStress,
    Cut,
    Fault,
    Latency,
    MemoryStress,
    MessageLoss,
    PacketLoss,
    Partition,
    PodFailure,
    PodKill,
    PodPause,
    PortsBlocked,
    Stall,
)
from kvsync.testing.faults.holding import Episode, active
from kvsync.testing.processes.ledger import Ledger, LedgerEntry, leftovers
from kvsync.testing.processes.tools import ON_PATH
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import Inconclusive, Void

if TYPE_CHECKING:
    from kvsync.testing.clusters.kubernetes.cluster import KubernetesCluster
    from kvsync.testing.faults.node.injector import NodeInjector
    from kvsync.testing.faults.node.pod import NodePod

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

WELL = "the pod is ready"
PORTS_WELL = f"http answered, events answered, replay answered, {WELL}"
REPLICAS = 2
WITHIN_S = 60.0
"""A busy machine takes its time."""

FAULTS = [
    pytest.param(
        Partition(pod=""),
        r"a request is silent for 0.5 s; lost [1-9]\d* packets to the pod, [1-9]\d* from it",
        PORTS_WELL,
        id="partition",
    ),
    pytest.param(
        Partition(pod="", direction="to"),
        r"a request is silent for 0.5 s; lost [1-9]\d* packets to the pod, 0 from it",
        PORTS_WELL,
        id="partition to the pod",
    ),
    pytest.param(
        Partition(pod="", direction="from"),
        r"a request is silent for 0.5 s; lost 0 packets to the pod, [1-9]\d* from it",
        PORTS_WELL,
        id="partition from the pod",
    ),
    pytest.param(
        Stall(pod="", ports=("http", "events")),
        r"http silent for 0.5 s, events accepted and silent for 0.5 s",
        PORTS_WELL,
        id="stall",
    ),
    pytest.param(
        Cut(pod="", ports=("events",)),
        r"[1-9]\d* connections reset",
        f"events answered, {WELL}",
        id="cut",
    ),
    pytest.param(
        PortsBlocked(pod="", ports=("events", "replay")),
        r"events refused, replay refused, [1-9]\d* connections reset",
        PORTS_WELL,
        id="ports blocked",
    ),
    pytest.param(
        PortsBlocked(pod="", ports=("http",)),
        r"http refused, [1-9]\d* connections reset",
        PORTS_WELL,
        id="http port blocked",
    ),
    pytest.param(
        PacketLoss(pod="", fraction=0.5),
        r"\d of 5 requests answered, [1-9]\d* packets sent again, [1-9]\d* dropped",
        r"5 of 5 requests answered, 0 packets sent again",
        id="packet loss",
    ),
    pytest.param(
        Bandwidth(pod="", bytes_per_s=50_000),
        r"an answer of 256 KiB takes \d+\.\d\d s",
        r"an answer of 256 KiB takes [0-2]\.\d\d s",
        id="bandwidth",
    ),
    pytest.param(
        Latency(pod="", delay_s=0.2, jitter_s=0.01),
        r"a request takes \d{3,} ms",
        r"a request takes 1?\d{1,2} ms",
        id="latency",
    ),
    pytest.param(
        Corruption(pod="", fraction=0.5),
        r"\d of 5 requests answered, [1-9]\d* packets sent again",
        r"5 of 5 requests answered, 0 packets sent again",
        id="corruption",
    ),
    pytest.param(
        MessageLoss(pod="", fraction=0.5),
        r"[1-5] of 5 messages lost",
        r"0 of 5 messages lost",
        id="message loss",
    ),
    pytest.param(
        ClockOffset(pod="", offset_s=30.0),
        r"the engine's clock is \+(29|30)\.\d s off",
        r"the engine's clock is [+-]\d\.\d s off",
        id="clock offset",
    ),
    pytest.param(
        CpuStress(pod="", workers=2, load=0.5),
        r"2 processes use \d\.\d\d cores and wait for \d\.\d\d of 1 asked for",
        r"stress processes: none",
        id="cpu stress",
    ),
    pytest.param(
        MemoryStress(pod="", workers=2, size_bytes=64 << 20),
        r"2 processes hold (6[4-9]|[7-9]\d|1\d\d) MiB",
        r"stress processes: none",
        id="memory stress",
    ),
    pytest.param(
        PodPause(pod=""),
        r"process \d+ is stopped, a request is silent for 0.5 s",
        f"http answered, {WELL}",
        id="pod pause",
    ),
]

ENDS = [
    pytest.param(
        ContainerKill(pod=""),
        r"restart 1 after 0, epoch \d+ after \d+",
        f"http answered, {WELL}",
        id="container kill",
    ),
    pytest.param(
        PodFailure(pod=""),
        r"a request is refused",
        f"http answered, {WELL}",
        id="pod failure",
    ),
    pytest.param(
        PodKill(pod=""),
        r"engine-qwen-\S+ is gone, its engine ended, engine-qwen-\S+ came",
        f"{REPLICAS} of {REPLICAS} pods are ready",
        id="pod kill",
    ),
]


@pytest.fixture(scope="module")
def cluster(test_machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator["KubernetesCluster"]:
    """A gateway and a few pods, which suffer all faults; at the end nothing is left of them."""
    from kvsync.testing.clusters.kubernetes.provider import KubernetesProvider

    run_dir = tmp_path_factory.mktemp("node")
    provider = KubernetesProvider(
        test_machine, run_dir=run_dir, ledger=Ledger(run_dir / "ledger.jsonl"), seed=1
    )
    try:
        cluster = provider.create("c")
        cluster.deploy("qwen", REPLICAS)
        yield cluster
    finally:
        provider.delete("c")
        provider.close()
    assert leftovers([run_dir / "ledger.jsonl"]) == []


@pytest.fixture(scope="module")
def injector(cluster: "KubernetesCluster") -> "NodeInjector":
    """One for all tests: each makes the pod publish what was not published before."""
    from kvsync.testing.faults.node.injector import NodeInjector

    return NodeInjector(cluster)


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A history of its own."""
    return History(tmp_path / "h.jsonl", "test")


def newest(cluster: "KubernetesCluster") -> "NodePod":
    """Return the pod that came last: none of these tests has ended its container yet."""
    from kvsync.testing.faults.node.pod import NodePod

    return NodePod(cluster, cluster.pods()[-1].name)


def renewed(cluster: "KubernetesCluster") -> "NodePod":
    """Delete the pod that came last; return the one in its place."""
    cluster.delete_pod(cluster.pods()[-1].name)
    return newest(cluster)


def rules(cluster: "KubernetesCluster") -> list[LedgerEntry]:
    """Return what the ledger says would have to be undone on nodes."""
    return [each for each in leftovers([cluster.site.ledger.path]) if each.kind == "network-rule"]


def shaped(pod: "NodePod") -> list[str]:
    """Return the rules of a pod's network, and the queues at both ends of its link."""
    inside = ("nsenter", f"--net={pod.network}")
    return [
        pod.node.run(*inside, "iptables", "-S"),
        pod.node.run(*inside, "tc", "qdisc", "show", "dev", "eth0"),
        pod.node.run("tc", "qdisc", "show", "dev", pod.peer),
    ]


@contextmanager
def unchanged(pod: "NodePod", cluster: "KubernetesCluster") -> Iterator[None]:
    """Verify that nothing is left of what the block does to the pod's network, however it ends."""
    before = shaped(pod)
    try:
        yield
    finally:
        assert shaped(pod) == before
        assert rules(cluster) == []


@contextmanager
def held(fault: Fault, injector: "NodeInjector", history: History) -> Iterator[Episode]:
    """Hold a fault; without proof of its effect or of its end the injector is wrong, which is tested here."""
    try:
        with active(fault, injector, history, proof_timeout_s=WITHIN_S) as episode:
            yield episode
    except (Void, Inconclusive) as exc:
        pytest.fail(str(exc))


@pytest.mark.parametrize(("fault", "proof", "absence"), FAULTS)
def test_a_fault_acts_until_it_is_taken_back(
    fault: Fault,
    proof: str,
    absence: str,
    cluster: "KubernetesCluster",
    injector: "NodeInjector",
    history: History,
) -> None:
    """Its effect is measured while it acts, and its absence afterwards; no rule is left."""
    pod = newest(cluster)
    with unchanged(pod, cluster), held(replace(fault, pod=pod.name), injector, history) as episode:
        assert re.fullmatch(proof, episode.proof), episode.proof

    assert re.fullmatch(absence, episode.absence), episode.absence


@pytest.mark.parametrize(("fault", "proof", "absence"), ENDS)
def test_what_ends_an_engine_happens_and_is_made_good(
    fault: Fault,
    proof: str,
    absence: str,
    cluster: "KubernetesCluster",
    injector: "NodeInjector",
    history: History,
) -> None:
    """The cache of the one that comes is empty."""
    pod = renewed(cluster)
    before = {each.admin_url for each in cluster.pods()}
    with held(replace(fault, pod=pod.name), injector, history) as episode:
        assert re.fullmatch(proof, episode.proof), episode.proof

    assert re.fullmatch(absence, episode.absence), episode.absence
    assert newest(cluster).admin.sequence() == -1
    assert ({each.admin_url for each in cluster.pods()} == before) is not isinstance(fault, PodKill)


def test_a_rule_is_taken_back_though_the_container_restarted(
    cluster: "KubernetesCluster", injector: "NodeInjector", history: History
) -> None:
    """The network is the pod's, not the container's, so the fault acts on."""
    pod = renewed(cluster)
    fault, restarts = Stall(pod=pod.name, ports=("replay",)), pod.state().restarts
    with unchanged(pod, cluster), held(fault, injector, history):
        pod.node.run("kill", "-KILL", str(pod.main_pid()))
        wait_for(
            lambda: pod.state().restarts > restarts and pod.state().ready,
            what="the container is back",
            timeout_s=WITHIN_S,
        )
        assert injector.prepare(fault).measure().present


def test_recovery_does_no_harm_when_the_pod_is_gone(
    cluster: "KubernetesCluster", injector: "NodeInjector"
) -> None:
    """Its rules went with it; a second recovery finds nothing to do."""
    pod = newest(cluster)
    injection = injector.prepare(Partition(pod=pod.name))
    injection.inject()
    cluster.delete_pod(pod.name)
    wait_for(
        lambda: not pod.node.ask("test", "-e", pod.network).ok,
        what="the network of the pod is gone",
        timeout_s=WITHIN_S,
    )

    injection.recover()
    injection.recover()

    assert rules(cluster) == []


def test_somebody_else_can_take_back_what_the_ledger_knows(
    cluster: "KubernetesCluster", injector: "NodeInjector"
) -> None:
    """As after a SIGKILL: neither rules are left nor a stopped process."""
    pod = newest(cluster)
    with unchanged(pod, cluster):
        injections = [injector.prepare(fault) for fault in (Partition(pod=pod.name), PodPause(pod=pod.name))]
        for injection in injections:
            injection.inject()
        for entry in rules(cluster):
            assert reap(entry, ON_PATH)
            cluster.site.ledger.released(entry)

    wait_for(lambda: not pod.unwell().present, what="the pod is well", timeout_s=WITHIN_S)
    for injection in injections:
        injection.recover()
