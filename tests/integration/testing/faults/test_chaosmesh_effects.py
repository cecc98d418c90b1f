"""What faults do to a pod, told from answers over real HTTP and from what its container says of itself."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kvsync.errors import UnknownName
from kvsync.testing.clusters.cluster import PodHandle
from kvsync.testing.clusters.kubernetes.api import PodState
from kvsync.testing.errors import ClusterError
from kvsync.testing.faults.chaosmesh import probe
from kvsync.testing.faults.chaosmesh.effects import Observation, risen
from kvsync.testing.faults.fault import (
    ContainerKill,
    CpuStress,
    DiskLatency,
    Fault,
    HttpDelay,
    MemoryStress,
    Partition,
    PodFailure,
    PodKill,
    PodPause,
    PortsBlocked,
)
from kvsync.testing.faults.holding import Effect, Episode, active
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import NotRun, Unproven

WELL = Effect(False, "a request is answered, the pod is ready")
PORTS = {"8000": "open", "5557": "open", "5558": "open", "9000": "open"}
EVENTS_BLOCKED = PortsBlocked(pod="qwen-1", ports=("events", "replay"))


class Engine:
    """An engine's health port, which may keep everybody waiting."""

    def __init__(self) -> None:
        self.silent, self._ended = threading.Event(), threading.Event()
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if engine.silent.is_set():
                    engine._ended.wait()
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Let everybody go."""
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()


@dataclass(kw_only=True)
class Cluster:
    """Pods as a cluster knows them; `said` is what programs in their containers print.

    `cut` has who does not hear from whom: the names of receiver and sender.
    """

    url: str
    engines: list[PodState]
    gateways: list[PodState]
    said: dict[str, object] = field(default_factory=lambda: {"connect": PORTS})
    cut: set[tuple[str, str]] = field(default_factory=set)
    strays: dict[str, int] = field(default_factory=dict)

    def pods(self) -> list[PodHandle]:
        """See Pods."""
        return [PodHandle(name=each.name, model="qwen", url=self.url, admin_url="") for each in self.engines]

    def states(self, labels: str = "app=engine") -> Sequence[PodState]:
        """See Pods."""
        return self.engines if labels == "app=engine" else self.gateways

    def execute(self, name: str, *argv: str) -> str:
        """See Pods."""
        assert argv[:3] == ("python", "-m", "kvsync.testing.faults.chaosmesh.probe")
        came = self.strays.get(name, 7)
        match argv[3:]:
            case ["send", address]:
                (receiver,) = (pod.name for pod in (*self.engines, *self.gateways) if pod.ip == address)
                lost = (receiver, name) in self.cut
                self.strays[receiver] = self.strays.get(receiver, 7) + (0 if lost else probe.DATAGRAMS)
                return json.dumps(came)
            case ["strays"]:
                return json.dumps(came)
            case [subject, *_]:
                said = self.said[subject]
                return said if isinstance(said, str) else json.dumps(said)
        raise AssertionError(argv)

    def change(self, name: str, **facts: object) -> None:
        """Change an engine as Kubernetes sees it."""
        self.engines = [
            replace(each, **facts) if each.name == name else each  # type: ignore[arg-type]  # fields of PodState
            for each in self.engines
        ]


def pod(name: str, ip: str, **facts: object) -> PodState:
    """Return a pod that is well."""
    well = PodState(
        name=name,
        uid=f"uid of {name}",
        ip=ip,
        node="node",
        created="2026-01-01",
        ready=True,
        deleting=False,
        restarts=0,
        labels={"model.aibrix.ai/name": "qwen"},
        container_id="",
        trouble="",
    )
    return replace(well, **facts)  # type: ignore[arg-type]  # fields of PodState


@pytest.fixture
def engine() -> Iterator[Engine]:
    """The engine of all pods."""
    made = Engine()
    yield made
    made.close()


@pytest.fixture
def cluster(engine: Engine) -> Cluster:
    """Two engines and a gateway."""
    engines = [pod("qwen-1", "10.0.0.1"), pod("qwen-2", "10.0.0.2")]
    return Cluster(url=engine.url, engines=engines, gateways=[pod("gateway-1", "10.0.0.9")])


class Doer:
    """An Injector, and an Injection, that does `act` to the cluster, and `heal` when it is taken back."""

    def __init__(self, cluster: Cluster, act: Callable[[], None], heal: Callable[[], None]) -> None:
        self._cluster, self._act, self._heal, self._acting = cluster, act, heal, False

    @staticmethod
    def impossible(fault: Fault) -> str:
        """See Injector."""
        return f"impossible: {fault}"

    def prepare(self, fault: Fault) -> "Doer":
        """See Injector."""
        self._observation = Observation(self._cluster, fault)
        return self

    def inject(self) -> None:
        """See Injection."""
        self._act()
        self._acting = True

    def recover(self) -> None:
        """See Injection."""
        self._heal()
        self._acting = False

    def measure(self) -> Effect:
        """See Injection."""
        return self._observation.measure(acting=self._acting)


@contextmanager
def held(fault: Fault, injector: Doer, folder: Path) -> Iterator[Episode]:
    """Hold a fault; when it, or its end, is not proved, the test fails and is not just left open."""
    try:
        with active(fault, injector, History(folder / "h.jsonl", proc="t"), proof_timeout_s=5) as episode:
            yield episode
    except Unproven as exc:
        pytest.fail(f"not proved: {exc}")


def test_a_killed_pod_is_replaced(cluster: Cluster, tmp_path: Path) -> None:
    """A kill happened when the pod is gone and another came, and is over when as many are ready as before."""
    kill = PodKill(pod="qwen-1")

    def act() -> None:
        cluster.engines = [pod("qwen-2", "10.0.0.2"), pod("qwen-3", "10.0.0.3", ready=False)]

    injector = Doer(cluster, act, lambda: cluster.change("qwen-3", ready=True))
    with held(kill, injector, tmp_path) as episode:
        assert episode.proof == "pod qwen-1 is gone, qwen-3 came"
    assert episode.absence == "2 of 2 pods are ready"


def test_a_killed_container_is_ready_again(cluster: Cluster, tmp_path: Path) -> None:
    """A container was killed when it started again, and that is over when the pod is well."""
    kill = ContainerKill(pod="qwen-1")
    injector = Doer(
        cluster,
        lambda: cluster.change("qwen-1", restarts=1, ready=False),
        lambda: cluster.change("qwen-1", ready=True),
    )
    with held(kill, injector, tmp_path) as episode:
        assert episode.proof == "its container was started again 1 times"
    assert episode.absence == WELL.evidence


@pytest.mark.parametrize(
    ("engines", "evidence"),
    [
        pytest.param(["qwen-1", "qwen-2", "qwen-3"], "pod qwen-1 is there, qwen-3 came", id="not gone"),
        pytest.param(["qwen-2"], "pod qwen-1 is gone, nobody came", id="nobody came"),
    ],
)
def test_a_kill_that_did_not_happen(cluster: Cluster, engines: list[str], evidence: str) -> None:
    """Neither is a pod killed that is there, nor one that was not replaced."""
    observation = Observation(cluster, PodKill(pod="qwen-1"))
    cluster.engines = [pod(name, "") for name in engines]

    assert observation.measure(acting=True) == Effect(False, evidence)


def test_too_few_pods_after_a_kill(cluster: Cluster) -> None:
    """A kill is not over while a pod of the model is missing or not ready; another model's does not count."""
    observation = Observation(cluster, PodKill(pod="qwen-1"))
    llama = pod("llama-1", "10.0.0.4", labels={"model.aibrix.ai/name": "llama"})
    cluster.engines = [pod("qwen-2", "10.0.0.2"), llama]

    assert observation.measure(acting=False) == Effect(True, "1 of 2 pods are ready")


def test_a_pod_that_is_not_ready_is_not_well(cluster: Cluster) -> None:
    """That it answers is not enough: requests come only when Kubernetes finds it ready."""
    observation = Observation(cluster, ContainerKill(pod="qwen-1"))
    assert observation.measure(acting=False) == WELL
    assert observation.measure(acting=True) == Effect(False, "its container was started again 0 times")
    cluster.change("qwen-1", ready=False)

    unwell = Effect(True, "a request is answered, the pod is not ready")
    assert observation.measure(acting=False) == unwell


def test_a_failed_pod_does_not_answer(cluster: Cluster, engine: Engine) -> None:
    """A failure shows in that no request is answered."""
    observation = Observation(cluster, PodFailure(pod="qwen-1"))
    assert observation.measure(acting=False) == WELL
    assert observation.measure(acting=True) == Effect(False, "a request is answered")
    engine.silent.set()

    assert observation.measure(acting=True) == Effect(True, "a request is silent for 0.5 s")


TO_POD, FROM_POD = ("qwen-1", "gateway-1"), ("gateway-1", "qwen-1")


@pytest.mark.parametrize(
    ("direction", "cut", "present"),
    [
        pytest.param("both", {TO_POD, FROM_POD}, True, id="both ways"),
        pytest.param("both", {TO_POD}, False, id="both ways, but one is open"),
        pytest.param("to", {TO_POD}, True, id="to the pod"),
        pytest.param("to", {FROM_POD}, False, id="to the pod, but from it is cut"),
        pytest.param("from", {FROM_POD}, True, id="from the pod"),
        pytest.param("from", {TO_POD, FROM_POD}, False, id="from the pod, but both are cut"),
    ],
)
def test_the_direction_of_a_partition(
    direction: str, cut: set[tuple[str, str]], present: bool, cluster: Cluster, engine: Engine
) -> None:
    """Whichever way is cut no request is answered; datagrams tell the ways apart."""
    observation = Observation(cluster, Partition(pod="qwen-1", direction=direction))  # type: ignore[arg-type]
    assert observation.measure(acting=False) == WELL
    cluster.cut = cut
    engine.silent.set()
    to, from_ = (0 if way in cut else 10 for way in (TO_POD, FROM_POD))

    assert observation.measure(acting=True) == Effect(
        present,
        "a request is silent for 0.5 s; of 10 datagrams each way between gateway-1 and the pod"
        f" {to} reached it, {from_} came from it",
    )


def test_lost_datagrams_are_no_partition(cluster: Cluster) -> None:
    """Who is answered is not cut off."""
    observation = Observation(cluster, Partition(pod="qwen-1"))
    cluster.cut = {TO_POD, FROM_POD}

    assert not observation.measure(acting=True).present


def test_a_network_without_datagrams_proves_no_partition(cluster: Cluster) -> None:
    """Where they are lost without any fault, that they are lost says nothing."""
    cluster.cut = {TO_POD}

    with pytest.raises(NotRun, match="no partition can be proved here: without any fault, of 10 datagrams"):
        Observation(cluster, Partition(pod="qwen-1")).measure(acting=False)


@pytest.mark.parametrize(
    ("said", "acts", "remains"),
    [
        pytest.param({}, False, False, id="all open"),
        pytest.param({"5557": "silent", "5558": "refused"}, True, True, id="just these"),
        pytest.param({"5557": "silent"}, False, True, id="one of them"),
        pytest.param(dict.fromkeys(PORTS, "silent"), False, True, id="a pod that cannot be reached"),
    ],
)
def test_blocked_ports(said: dict[str, str], acts: bool, remains: bool, cluster: Cluster) -> None:
    """While it acts just the blocked ports are closed for the gateway, and afterwards none is."""
    observation = Observation(cluster, EVENTS_BLOCKED)
    cluster.said["connect"] = PORTS | said

    assert observation.measure(acting=True).present is acts
    assert observation.measure(acting=False).present is remains


def test_what_is_said_of_ports(cluster: Cluster) -> None:
    """The evidence has each port."""
    said = "port 8000 open, port 5557 open, port 5558 open, port 9000 open"

    assert Observation(cluster, EVENTS_BLOCKED).measure(acting=False) == Effect(False, said)


@pytest.mark.parametrize(
    ("fault", "subject", "before", "during", "evidence"),
    [
        pytest.param(
            CpuStress(pod="qwen-1"), "cores", 0.3, 1.4, "the container uses 1.10 cores more", id="cpu"
        ),
        pytest.param(
            MemoryStress(pod="qwen-1"),
            "memory",
            100 << 20,
            612 << 20,
            "the container holds 512 MiB more",
            id="memory",
        ),
        pytest.param(
            DiskLatency(pod="qwen-1", delay_s=0.1, fraction=0.5),
            "disk_s",
            0.01,
            1.01,
            "10 durable writes take 1000 ms longer",
            id="disk",
        ),
    ],
)
def test_what_the_container_says(
    fault: Fault, subject: str, before: float, during: float, evidence: str, cluster: Cluster
) -> None:
    """What a fault raises is compared with how it was before."""
    cluster.said[subject] = before
    observation = Observation(cluster, fault)
    assert not observation.measure(acting=False).present
    cluster.said[subject] = during

    assert observation.measure(acting=True) == Effect(True, f"{evidence} than before")


@pytest.mark.parametrize(
    ("fault", "enough", "too_little"),
    [
        pytest.param(CpuStress(pod="", workers=2, load=0.8), 0.8, 0.79, id="cpu"),
        pytest.param(MemoryStress(pod="", size_bytes=512 << 20), 256 << 20, 255 << 20, id="memory"),
        pytest.param(DiskLatency(pod="", delay_s=0.1, fraction=0.5), 0.25, 0.24, id="disk"),
        pytest.param(HttpDelay(pod="", delay_s=2.0), 1.0, 0.99, id="http"),
    ],
)
def test_half_of_what_a_fault_says_is_enough(
    fault: CpuStress | MemoryStress | DiskLatency | HttpDelay, enough: float, too_little: float
) -> None:
    """Others want something of it, too, but less is not the fault."""
    assert risen(fault, enough).present
    assert not risen(fault, too_little).present


def test_what_cannot_be_measured_is_not_run(cluster: Cluster) -> None:
    """A container that cannot say it leaves the fault open, with the reason."""
    cluster.said["disk_s"] = {"error": "PermissionError: /data"}

    with pytest.raises(NotRun, match="cannot measure disk_s in qwen-1: PermissionError: /data"):
        Observation(cluster, DiskLatency(pod="qwen-1", delay_s=0.1, path="/data")).measure(acting=False)
    with pytest.raises(NotRun, match="pod pause cannot be measured without entering a node"):
        Observation(cluster, PodPause(pod="qwen-1")).measure(acting=False)


def test_what_cannot_be_measured_now_is_tried_again(cluster: Cluster) -> None:
    """Half an answer, a gateway that is not ready and a pod that is gone are errors of the moment."""
    cluster.said["cores"] = "0.3"
    stress, blocked = Observation(cluster, CpuStress(pod="qwen-1")), Observation(cluster, EVENTS_BLOCKED)
    cluster.said["cores"] = "0.3\nwarning"
    with pytest.raises(ClusterError, match=r"cannot measure cores in qwen-1: it printed '0\.3"):
        stress.measure(acting=True)

    gateways, cluster.gateways = cluster.gateways, []
    with pytest.raises(ClusterError, match="no gateway is ready"):
        blocked.measure(acting=True)
    cluster.gateways, cluster.engines = gateways, []
    with pytest.raises(ClusterError, match="pod qwen-1 is gone"):
        blocked.measure(acting=True)


def test_a_pod_that_was_never_there(cluster: Cluster) -> None:
    """Nothing can be compared with it."""
    with pytest.raises(UnknownName, match="unknown pod 'qwen-9'; valid: qwen-1, qwen-2"):
        Observation(cluster, PodKill(pod="qwen-9"))
