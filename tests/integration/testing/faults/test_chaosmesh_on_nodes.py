"""What is measured without entering nodes, against what nodes really do to pods of a Kind cluster.

The cluster is that of KVSYNC_CI_TEST_MACHINE. Slow disks and delayed HTTP are missing: no node does these.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.faults.fault import (
    Bandwidth,
    ClockOffset,
    ContainerKill,
    CpuStress,
    DiskLatency,
    Fault,
    HttpDelay,
    MemoryStress,
    Partition,
    PodFailure,
    PodKill,
    PortsBlocked,
)
from kvsync.testing.faults.holding import Effect, Episode, active
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import NotRun, Unproven
from kvsync.testing.scenarios.injectors import make_injector

if TYPE_CHECKING:
    from kvsync.testing.clusters.kubernetes.cluster import KubernetesCluster

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

WELL = "a request is answered, the pod is ready"
DATAGRAMS = r"of 10 datagrams each way between gateway-\S+ and the pod"
ALL_OPEN = "port 8000 open, port 5557 open, port 5558 open, port 9000 open"
SILENT = "a request is silent for 0.5 s"
WITHIN_S = 90.0
"""A container that ended before comes back late."""

FAULTS = [
    pytest.param(
        Partition(pod=""), rf"{SILENT}; {DATAGRAMS} 0 reached it, 0 came from it", WELL, id="partition"
    ),
    pytest.param(
        Partition(pod="", direction="to"),
        rf"{SILENT}; {DATAGRAMS} 0 reached it, 10 came from it",
        WELL,
        id="partition to the pod",
    ),
    pytest.param(
        Partition(pod="", direction="from"),
        rf"{SILENT}; {DATAGRAMS} 10 reached it, 0 came from it",
        WELL,
        id="partition from the pod",
    ),
    pytest.param(
        PortsBlocked(pod="", ports=("events", "replay")),
        "port 8000 open, port 5557 refused, port 5558 refused, port 9000 open",
        ALL_OPEN,
        id="ports blocked",
    ),
    pytest.param(
        CpuStress(pod="", workers=2, load=0.5),
        r"the container uses \d\.\d\d cores more than before",
        r"the container uses -?\d\.\d\d cores more than before",
        id="cpu stress",
    ),
    pytest.param(
        MemoryStress(pod="", workers=2, size_bytes=256 << 20),
        r"the container holds (1[3-9]|2\d)\d MiB more than before",
        r"the container holds -?\d{1,2} MiB more than before",
        id="memory stress",
    ),
    pytest.param(
        Bandwidth(pod="", bytes_per_s=50_000),
        r"an answer of 256 KiB takes \d+\.\d\d s",
        r"an answer of 256 KiB takes [0-2]\.\d\d s",
        id="bandwidth",
    ),
    pytest.param(
        ClockOffset(pod="", offset_s=30.0),
        r"the engine's clock is \+(29|30)\.\d s off",
        r"the engine's clock is [+-]\d\.\d s off",
        id="clock offset",
    ),
    pytest.param(PodFailure(pod=""), "a request is refused", WELL, id="pod failure"),
    pytest.param(ContainerKill(pod=""), "its container was started again 1 times", WELL, id="container kill"),
    pytest.param(
        PodKill(pod=""),
        r"pod engine-qwen-\S+ is gone, engine-qwen-\S+ came",
        "2 of 2 pods are ready",
        id="pod kill",
    ),
]


class Observed:
    """An Injector, and an Injection, that nodes carry out and an Observation measures."""

    def __init__(self, cluster: "KubernetesCluster") -> None:
        self._cluster, self._acting = cluster, False

    @staticmethod
    def impossible(fault: Fault) -> str:
        """See Injector; not used here."""
        raise AssertionError(fault)

    def prepare(self, fault: Fault) -> "Observed":
        """See Injector."""
        from kvsync.testing.faults.chaosmesh.effects import Observation
        from kvsync.testing.faults.node.injector import NodeInjector

        self._nodes = NodeInjector(self._cluster).prepare(fault)
        self._observation = Observation(self._cluster, fault)
        return self

    def inject(self) -> None:
        """See Injection."""
        self._nodes.inject()
        self._acting = True

    def recover(self) -> None:
        """See Injection."""
        self._acting = False
        self._nodes.recover()

    def measure(self) -> Effect:
        """See Injection."""
        return self._observation.measure(acting=self._acting)


@pytest.fixture(scope="module")
def cluster(test_machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator["KubernetesCluster"]:
    """A gateway and two pods."""
    from kvsync.testing.clusters.kubernetes.provider import KubernetesProvider

    run_dir = tmp_path_factory.mktemp("observed")
    provider = KubernetesProvider(
        test_machine, run_dir=run_dir, ledger=Ledger(run_dir / "ledger.jsonl"), seed=1
    )
    try:
        cluster = provider.create("o")
        cluster.deploy("qwen", 2)
        yield cluster
    finally:
        provider.delete("o")
        provider.close()


@contextmanager
def held(fault: Fault, cluster: "KubernetesCluster", folder: Path) -> Iterator[Episode]:
    """Hold a fault; when it, or its end, is not proved, the test fails and is not just left open."""
    try:
        history = History(folder / "h.jsonl", "test")
        with active(fault, Observed(cluster), history, proof_timeout_s=WITHIN_S) as episode:
            yield episode
    except Unproven as exc:
        pytest.fail(str(exc))


@pytest.mark.parametrize(("fault", "proof", "absence"), FAULTS)
def test_what_nodes_do_is_seen(
    fault: Fault, proof: str, absence: str, cluster: "KubernetesCluster", tmp_path: Path
) -> None:
    """The effect shows while the fault acts, and its absence afterwards."""
    fault = replace(fault, pod=cluster.pods()[-1].name)
    with held(fault, cluster, tmp_path) as episode:
        assert re.fullmatch(proof, episode.proof), episode.proof

    assert re.fullmatch(absence, episode.absence), episode.absence


def test_the_disk_of_a_pod_is_timed(cluster: "KubernetesCluster") -> None:
    """A folder that the engine may write to is timed; one that it may not is told."""
    from kvsync.testing.faults.chaosmesh.effects import Observation

    pod = cluster.pods()[-1].name
    seen = Observation(cluster, DiskLatency(pod=pod, delay_s=5.0)).measure(acting=False)
    assert re.fullmatch(r"10 durable writes take -?\d+ ms longer than before", seen.evidence)
    assert not seen.present
    with pytest.raises(NotRun, match=f"cannot measure disk_s in {pod}: .*Read-only file system"):
        Observation(cluster, DiskLatency(pod=pod, delay_s=0.1, path="/etc")).measure(acting=False)


def test_what_no_node_does_needs_chaos_mesh(cluster: "KubernetesCluster", tmp_path: Path) -> None:
    """Without Chaos Mesh such a fault is not run, for the want of it, and nothing is created."""
    history = History(tmp_path / "h.jsonl", "test")
    injector = make_injector(cluster, history)
    fault = HttpDelay(pod=cluster.pods()[-1].name, delay_s=2.0)

    assert injector.impossible(fault) == ""
    with (
        pytest.raises(NotRun, match=r"cannot inject http delay: .*install.*helm install chaos-mesh"),
        active(fault, injector, history),
    ):
        pass
