"""What a fault does to a pod, measured without entering its node: for faults that Chaos Mesh carries out.

It compares with how the pod was when it was looked at first. What shows to whoever asks the pod over HTTP is
measured so; the rest is measured by programs in the pod and in a gateway (see inside): what the container
uses, how slow its disk is, and what of its network the gateway reaches.

A connection needs both ways, so none tells which way of a partition is cut. Datagrams do: gateway and pod
send each other some, and the kernel that gets them counts them. Where they do not arrive without any fault,
no partition is proved.
"""

import json
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Protocol

from kvsync.errors import UnknownName
from kvsync.testing.clusters.cluster import PodHandle
from kvsync.testing.clusters.endpoints import answers
from kvsync.testing.clusters.kubernetes.api import PodState
from kvsync.testing.clusters.kubernetes.cluster import ENGINES, GATEWAYS
from kvsync.testing.clusters.kubernetes.manifests import ADMIN_PORT, MODEL_LABEL, PORT_NUMBERS
from kvsync.testing.errors import ClusterError
from kvsync.testing.faults import effects
from kvsync.testing.faults.chaosmesh import probe as inside
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
"""Linux sends a lost packet again after so long at the earliest."""
REQUESTS = 20
"""With every tenth packet lost, none of so many requests is late once in a hundred times or less."""

RaisingFault = Latency | HttpDelay | CpuStress | MemoryStress | DiskLatency
"""Faults that raise something; half of what they say is taken for them, because others need it, too."""


class Pods(Protocol):
    """What is asked of a cluster: the part of KubernetesCluster that this needs."""

    def pods(self) -> Sequence[PodHandle]:
        """Return the engine pods that run."""

    def states(self, labels: str = ENGINES) -> Sequence[PodState]:
        """Return pods as Kubernetes sees them."""

    def execute(self, name: str, *argv: str) -> str:
        """Run a command in a pod's container and return what it printed. Raises ClusterError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """A pod before the fault, the names of its model's pods, and what a fault raises."""

    handle: PodHandle
    state: PodState
    fellows: frozenset[str]
    level: float


class Outside:
    """Measures the faults of one cluster."""

    def __init__(self, cluster: Pods) -> None:
        self._cluster = cluster
        self._before: dict[Fault, _Before] = {}

    def measure(self, fault: Fault, *, acting: bool) -> Effect:
        """See Injector; `acting` says whether it is held now.

        A held fault has to show whole; at other times anything short of a well pod is taken for it. Raises
        NotRun for what cannot be measured, ClusterError for what cannot be measured now.
        """
        if fault not in self._before:
            self._before[fault] = self._look(fault)
        before = self._before[fault]
        url = before.handle.url
        match fault:
            case PodKill():
                return self._replaced(before) if acting else self._missing(before)
            case ContainerKill() | PodFailure() | Partition() if not acting:
                return self._unwell(before)
            case ContainerKill():
                restarts = self._state(fault.pod).restarts - before.state.restarts
                return Effect(restarts > 0, f"its container was started again {restarts} times")
            case PodFailure():
                answer = effects.ask(url)
                return Effect(answer != effects.ANSWERED, f"a request is {answer}")
            case Partition(direction=direction):
                return self._divided(url, fault.pod, {"to", "from"} if direction == "both" else {direction})
            case PortsBlocked(ports=ports):
                return self._closed(
                    fault.pod, {str(PORT_NUMBERS[port]) for port in ports} if acting else set()
                )
            case PacketLoss() | Corruption():
                late = sum(_once_s(url) > before.level + RETRANSMISSION_S for _ in range(REQUESTS))
                return Effect(late > 0, f"{late} of {REQUESTS} requests waited for a packet to be sent again")
            case Bandwidth(bytes_per_s=bytes_per_s):
                return effects.narrow(before.handle, bytes_per_s)
            case ClockOffset(offset_s=offset_s):
                return effects.skewed(before.handle, offset_s)
            case Latency() | HttpDelay() | CpuStress() | MemoryStress() | DiskLatency():
                return risen(fault, self._level(fault, url) - before.level)
            case _:
                raise NotRun(f"the effect of {name_of(fault)} cannot be measured without entering a node")

    def _look(self, fault: Fault) -> _Before:
        handles = {pod.name: pod for pod in self._cluster.pods()}
        if fault.pod not in handles:
            raise UnknownName("pod", fault.pod, handles)
        if isinstance(fault, Partition) and (lost := self._lost(fault.pod))[0]:
            raise NotRun(f"no partition can be proved here: without any fault, {lost[1]}")
        handle = handles[fault.pod]
        return _Before(
            handle=handle,
            state=self._state(fault.pod),
            fellows=frozenset(self._fellows(handle.model)),
            level=self._level(fault, handle.url),
        )

    def _level(self, fault: Fault, url: str) -> float:
        match fault:
            case CpuStress():
                return float(self._inside(fault.pod, "cores"))
            case MemoryStress():
                return float(self._inside(fault.pod, "memory"))
            case DiskLatency(path=path):
                return float(self._inside(fault.pod, "disk_s", path))
        return effects.health_s(url)

    def _replaced(self, before: _Before) -> Effect:
        now = self._fellows(before.handle.model)
        gone = all(state.uid != before.state.uid for state in now.values())
        came = sorted(now.keys() - before.fellows)
        evidence = (
            f"pod {before.state.name} is {'gone' if gone else 'there'}, {', '.join(came) or 'nobody'} came"
        )
        return Effect(gone and bool(came), evidence)

    def _missing(self, before: _Before) -> Effect:
        ready = {name for name, state in self._fellows(before.handle.model).items() if state.ready}
        return effects.missing([p for p in self._cluster.pods() if p.name in ready], len(before.fellows))

    def _unwell(self, before: _Before) -> Effect:
        answer, ready = effects.ask(before.handle.url), self._state(before.state.name).ready
        evidence = f"a request is {answer}, the pod is {'ready' if ready else 'not ready'}"
        return Effect(not ready or answer != effects.ANSWERED, evidence)

    def _divided(self, url: str, pod: str, wanted: set[str]) -> Effect:
        answer, (lost, evidence) = effects.ask(url), self._lost(pod)
        return Effect(answer == effects.SILENT and lost == wanted, f"a request is {answer}; {evidence}")

    def _lost(self, pod: str) -> tuple[set[str], str]:
        """Return which ways datagrams are lost, seen from the pod, and the evidence."""
        gateway, address = self._gateway(), self._state(pod).ip
        came = self._inside(gateway.name, "strays")
        reached = self._inside(pod, "send", gateway.ip)
        came = self._inside(gateway.name, "send", address) - came
        reached = self._inside(pod, "strays") - reached
        lost = {way for way, count in {"to": reached, "from": came}.items() if count < inside.DATAGRAMS / 2}
        of = f"of {inside.DATAGRAMS} datagrams each way between {gateway.name} and the pod"
        return lost, f"{of} {reached} reached it, {came} came from it"

    def _closed(self, pod: str, wanted: Set[str]) -> Effect:
        """Measure whether just these ports let nobody in; without any: whether some port does not."""
        ports = [*map(str, PORT_NUMBERS.values()), str(ADMIN_PORT)]
        said: Mapping[str, str] = self._inside(self._gateway().name, "connect", self._state(pod).ip, *ports)
        closed = {port for port, answer in said.items() if answer != inside.OPEN}
        shows = closed == wanted if wanted else bool(closed)
        return Effect(shows, ", ".join(f"port {port} {answer}" for port, answer in said.items()))

    def _gateway(self) -> PodState:
        for state in self._cluster.states(GATEWAYS):
            if state.ready:
                return state
        raise ClusterError("no gateway is ready, and one is needed to see what the pod lets in")

    def _fellows(self, model: str) -> Mapping[str, PodState]:
        return {each.name: each for each in self._cluster.states() if each.labels[MODEL_LABEL] == model}

    def _state(self, name: str) -> PodState:
        for state in self._cluster.states():
            if state.name == name:
                return state
        raise ClusterError(f"pod {name} is gone")

    def _inside(self, pod: str, *what: str) -> Any:
        """Return what a program in the pod's container measured."""
        printed = self._cluster.execute(pod, "python", "-m", inside.__name__, *what)
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
            asked = inside.ROUNDS * fraction * delay_s
            evidence = f"{inside.ROUNDS} durable writes take {1000 * by:.0f} ms longer"
    return Effect(by >= asked / 2, f"{evidence} than before")


def _once_s(url: str) -> float:
    began = time.monotonic()
    answers(f"{url}/health")
    return time.monotonic() - began
