"""What a fault does to a pod, as it shows to whoever asks the pod over HTTP: for clusters of others.

It compares with how the pod was when it was looked at first. What does not show there is not measured, and a
fault whose effect is not measured proves nothing.
"""

import time
from dataclasses import dataclass

from kvsync.errors import UnknownName
from kvsync.testing import fault_effects as effects
from kvsync.testing.cluster import PodHandle
from kvsync.testing.endpoints import answers
from kvsync.testing.faults import (
    Bandwidth,
    ClockOffset,
    ContainerKill,
    Corruption,
    Effect,
    Fault,
    HttpDelay,
    Latency,
    PacketLoss,
    Partition,
    PodFailure,
    PodKill,
    name_of,
)
from kvsync.testing.kubernetes_cluster import KubernetesCluster
from kvsync.testing.verdicts import NotRun

RETRANSMISSION_S = 0.2
"""Linux sends a lost packet again after so long at the earliest."""
REQUESTS = 20
"""With every tenth packet lost, none of so many requests is late once in a hundred times or less."""


@dataclass(frozen=True, slots=True)
class _Before:
    """A pod before the fault."""

    handle: PodHandle
    restarts: int
    health_s: float


class Outside:
    """Measures the faults of one cluster. Raises NotRun for one that does not show from outside."""

    def __init__(self, cluster: KubernetesCluster) -> None:
        self._cluster = cluster
        self._before: dict[Fault, _Before] = {}

    def measure(self, fault: Fault) -> Effect:
        """See Injector."""
        if fault not in self._before:
            self._before[fault] = self._look(fault.pod)
        before = self._before[fault]
        handle = before.handle
        match fault:
            case PodKill():
                there = any(pod.name == fault.pod for pod in self._cluster.pods())
                return Effect(not there, f"pod {fault.pod} is {'there' if there else 'gone'}")
            case ContainerKill():
                restarts = self._cluster.state(fault.pod).restarts - before.restarts
                return Effect(restarts > 0, f"its container was started again {restarts} times")
            case Partition() | PodFailure():
                answer = effects.ask(handle.url)
                return Effect(answer != effects.ANSWERED, answer)
            case Latency(delay_s=delay_s) | HttpDelay(delay_s=delay_s):
                rise = effects.health_s(handle.url) - before.health_s
                return Effect(rise >= delay_s / 2, f"a request takes {1000 * rise:.0f} ms longer than before")
            case PacketLoss() | Corruption():
                late = sum(_once_s(handle.url) > before.health_s + RETRANSMISSION_S for _ in range(REQUESTS))
                return Effect(late > 0, f"{late} of {REQUESTS} requests waited for a packet to be sent again")
            case Bandwidth(bytes_per_s=bytes_per_s):
                return effects.narrow(handle, bytes_per_s)
            case ClockOffset(offset_s=offset_s):
                return effects.skewed(handle, offset_s)
            case _:
                raise NotRun(f"the effect of {name_of(fault)} cannot be measured from outside the cluster")

    def _look(self, name: str) -> _Before:
        handles = {pod.name: pod for pod in self._cluster.pods()}
        if name not in handles:
            raise UnknownName("pod", name, handles)
        handle = handles[name]
        return _Before(handle, self._cluster.state(name).restarts, effects.health_s(handle.url))


def _once_s(url: str) -> float:
    began = time.monotonic()
    answers(f"{url}/health")
    return time.monotonic() - began
