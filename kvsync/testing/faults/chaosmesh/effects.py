"""What a fault does to a pod, measured without entering its node: for faults that Chaos Mesh carries out.

It compares with how the pod was before. What shows over HTTP is measured over HTTP; the rest is measured by
programs in the pod and in a gateway (see probe): what the container uses, how slow its disk is, and which of
its ports the gateway reaches.

A connection needs both ways, so none tells which way of a partition is cut. Datagrams do: gateway and pod
send each other some, and the kernel that gets them counts them. Where they do not arrive without any fault,
no partition is proved.
"""

import json
import time
from collections.abc import Mapping, Sequence, Set
from typing import Any, Protocol

from kvsync.errors import UnknownName
from kvsync.testing.clusters.cluster import PodHandle
from kvsync.testing.clusters.endpoints import answers
from kvsync.testing.clusters.kubernetes.api import PodState
from kvsync.testing.clusters.kubernetes.cluster import ENGINES, GATEWAYS
from kvsync.testing.clusters.kubernetes.manifests import ADMIN_PORT, MODEL_LABEL, PORT_NUMBERS
from kvsync.testing.errors import ClusterError
from kvsync.testing.faults import effects
from kvsync.testing.faults.chaosmesh import probe
from kvsync.testing.faults.fault import (
    Bandwidth,
    ClockOffset,
    ContainerKill,
    Corruption,
    CpuStress,
    DiskLatency,
    Fault,
    HttpDelay,
    Latency,
    MemoryStress,
    PacketLoss,
    Partition,
    PodFailure,
    PodKill,
    PortsBlocked,
    name_of,
)
from kvsync.testing.faults.holding import Effect
from kvsync.testing.results.verdicts import NotRun

RETRANSMISSION_S = 0.2
"""Linux sends a lost packet again after this time at the earliest."""
REQUESTS = 20
"""With every tenth packet lost, all of these are in time at most once in a hundred trials."""

RaisingFault = Latency | HttpDelay | CpuStress | MemoryStress | DiskLatency
"""Faults that raise something; half of what they say is taken for them, because other things use it, too."""


class Pods(Protocol):
    """What is asked of a cluster: the part of KubernetesCluster that this needs."""

    def pods(self) -> Sequence[PodHandle]:
        """Return the engine pods that run."""

    def states(self, labels: str = ENGINES) -> Sequence[PodState]:
        """Return pods as Kubernetes sees them."""

    def execute(self, name: str, *argv: str) -> str:
        """Run a command in a pod's container and return what it printed. Raises ClusterError."""


class Observation:
    """What one fault does to its pod, compared with how the pod was when this was made.

    Raises NotRun for what cannot be measured here, ClusterError for what cannot be measured now.
    """

    def __init__(self, cluster: Pods, fault: Fault) -> None:
        self._cluster, self._fault = cluster, fault
        handles = {pod.name: pod for pod in cluster.pods()}
        if fault.pod not in handles:
            raise UnknownName("pod", fault.pod, handles)
        self._handle, self._before = handles[fault.pod], self._state()
        if isinstance(fault, Partition) and (lost := self._lost())[0]:
            raise NotRun(f"no partition can be proved here: without any fault, {lost[1]}")
        self._siblings = frozenset(self._pods_of_model())
        self._level_before = self._level()

    def measure(self, *, acting: bool) -> Effect:
        """See Injection; `acting` says whether the fault is held now.

        A held fault has to show completely; at other times anything short of a well pod is taken for it.
        """
        fault, url = self._fault, self._handle.url
        match fault:
            case PodKill():
                return self._replaced() if acting else self._missing()
            case ContainerKill() | PodFailure() | Partition() if not acting:
                return self._unwell()
            case ContainerKill():
                restarts = self._state().restarts - self._before.restarts
                return Effect(restarts > 0, f"its container was started again {restarts} times")
            case PodFailure():
                answer = effects.ask(url)
                return Effect(answer != effects.ANSWERED, f"a request is {answer}")
            case Partition(direction=direction):
                return self._divided({"to", "from"} if direction == "both" else {direction})
            case PortsBlocked(ports=ports):
                return self._closed({str(PORT_NUMBERS[port]) for port in ports} if acting else set())
            case PacketLoss() | Corruption():
                late = sum(_once_s(url) > self._level_before + RETRANSMISSION_S for _ in range(REQUESTS))
                return Effect(late > 0, f"{late} of {REQUESTS} requests waited for a packet to be sent again")
            case Bandwidth(bytes_per_s=bytes_per_s):
                return effects.narrow(self._handle, bytes_per_s)
            case ClockOffset(offset_s=offset_s):
                return effects.skewed(self._handle, offset_s)
            case Latency() | HttpDelay() | CpuStress() | MemoryStress() | DiskLatency():
                return risen(fault, self._level() - self._level_before)
            case _:
                raise NotRun(f"the effect of {name_of(fault)} cannot be measured without entering a node")

    def _level(self) -> float:
        """Return how much there is now of what the fault raises."""
        match self._fault:
            case CpuStress():
                return float(self._probe(self._fault.pod, "cores"))
            case MemoryStress():
                return float(self._probe(self._fault.pod, "memory"))
            case DiskLatency(path=path):
                return float(self._probe(self._fault.pod, "disk_s", path))
        return effects.health_s(self._handle.url)

    def _replaced(self) -> Effect:
        now = self._pods_of_model()
        gone = all(state.uid != self._before.uid for state in now.values())
        came = sorted(now.keys() - self._siblings)
        evidence = (
            f"pod {self._fault.pod} is {'gone' if gone else 'there'}, {', '.join(came) or 'nobody'} came"
        )
        return Effect(gone and bool(came), evidence)

    def _missing(self) -> Effect:
        ready = {name for name, state in self._pods_of_model().items() if state.ready}
        return effects.missing([p for p in self._cluster.pods() if p.name in ready], len(self._siblings))

    def _unwell(self) -> Effect:
        answer, ready = effects.ask(self._handle.url), self._state().ready
        evidence = f"a request is {answer}, the pod is {'ready' if ready else 'not ready'}"
        return Effect(not ready or answer != effects.ANSWERED, evidence)

    def _divided(self, wanted: set[str]) -> Effect:
        answer, (lost, evidence) = effects.ask(self._handle.url), self._lost()
        return Effect(answer == effects.SILENT and lost == wanted, f"a request is {answer}; {evidence}")

    def _lost(self) -> tuple[set[str], str]:
        """Return which ways datagrams are lost, seen from the pod, and the evidence."""
        gateway, address, pod = self._gateway(), self._state().ip, self._fault.pod
        came = self._probe(gateway.name, "strays")
        reached = self._probe(pod, "send", gateway.ip)
        came = self._probe(gateway.name, "send", address) - came
        reached = self._probe(pod, "strays") - reached
        lost = {way for way, count in {"to": reached, "from": came}.items() if count < probe.DATAGRAMS / 2}
        of = f"of {probe.DATAGRAMS} datagrams each way between {gateway.name} and the pod"
        return lost, f"{of} {reached} reached it, {came} came from it"

    def _closed(self, wanted: Set[str]) -> Effect:
        """Measure whether just these ports let no connection in; without any: whether some port does not."""
        ports = [*map(str, PORT_NUMBERS.values()), str(ADMIN_PORT)]
        said: Mapping[str, str] = self._probe(self._gateway().name, "connect", self._state().ip, *ports)
        closed = {port for port, answer in said.items() if answer != probe.OPEN}
        shows = closed == wanted if wanted else bool(closed)
        return Effect(shows, ", ".join(f"port {port} {answer}" for port, answer in said.items()))

    def _gateway(self) -> PodState:
        for state in self._cluster.states(GATEWAYS):
            if state.ready:
                return state
        raise ClusterError("no gateway is ready, and one is needed to see what the pod lets in")

    def _pods_of_model(self) -> Mapping[str, PodState]:
        model = self._handle.model
        return {each.name: each for each in self._cluster.states() if each.labels[MODEL_LABEL] == model}

    def _state(self) -> PodState:
        for state in self._cluster.states():
            if state.name == self._fault.pod:
                return state
        raise ClusterError(f"pod {self._fault.pod} is gone")

    def _probe(self, pod: str, *what: str) -> Any:
        """Return what a program in the pod's container measured."""
        printed = self._cluster.execute(pod, "python", "-m", probe.__name__, *what)
        try:
            measured = json.loads(printed)
        except ValueError as exc:
            raise ClusterError(f"cannot measure {what[0]} in {pod}: it printed {printed[:200]!r}") from exc
        if isinstance(measured, dict) and "error" in measured:
            raise NotRun(f"cannot measure {what[0]} in {pod}: {measured['error']}")
        return measured


def risen(fault: RaisingFault, by: float) -> Effect:
    """Judge by how much the level that a fault raises is above what it was. Pure."""
    match fault:
        case Latency(delay_s=delay_s) | HttpDelay(delay_s=delay_s):
            asked, evidence = delay_s, f"a request takes {1000 * by:.0f} ms longer"
        case CpuStress(workers=workers, load=load):
            asked, evidence = workers * load, f"the container uses {by:.2f} cores more"
        case MemoryStress(size_bytes=size_bytes):
            asked, evidence = size_bytes, f"the container holds {by / 2**20:.0f} MiB more"
        case DiskLatency(delay_s=delay_s, fraction=fraction):
            asked = probe.ROUNDS * fraction * delay_s
            evidence = f"{probe.ROUNDS} durable writes take {1000 * by:.0f} ms longer"
    return Effect(by >= asked / 2, f"{evidence} than before")


def _once_s(url: str) -> float:
    began = time.monotonic()
    answers(f"{url}/health")
    return time.monotonic() - began
