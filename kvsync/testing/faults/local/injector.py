"""Carries faults out on a local cluster: signals for processes, the fault proxy for the network.

Effects are measured with requests of our own, to the pod's front address as clients use it and past the
proxy to the engine itself. While a fault acts, the whole effect has to show; at other times anything short
of a healthy pod is taken for the fault.
"""

import itertools
from collections.abc import Mapping
from functools import partial

from kvsync.testing.clusters.endpoints import PodAdmin
from kvsync.testing.clusters.local.cluster import LocalCluster
from kvsync.testing.clusters.local.pod import LocalPod
from kvsync.testing.faults import effects
from kvsync.testing.faults.engine import EngineFault
from kvsync.testing.faults.fault import (
    ClockOffset,
    ContainerKill,
    CpuStress,
    Cut,
    DiskLatency,
    Fault,
    MemoryStress,
    MessageLoss,
    PacketLoss,
    PodFailure,
    PodKill,
    PodPause,
    Restart,
)
from kvsync.testing.faults.holding import Effect, Injection
from kvsync.testing.faults.local.network import LocalCut, ProxyFault
from kvsync.testing.faults.local.stress import LocalStress
from kvsync.testing.results.verdicts import NotRun

IMPOSSIBLE: Mapping[type[Fault], str] = {
    PacketLoss: "a proxy passes streams on and has no packets to lose",
    DiskLatency: "a file system cannot be slowed down without root",
}


class LocalInjector:
    """An Injector for one local cluster."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._numbers = itertools.count(1_000_000)

    @staticmethod
    def impossible(fault: Fault) -> str:
        """See Injector."""
        reason = IMPOSSIBLE.get(type(fault))
        return f"not possible on a local cluster: {reason}" if reason else ""

    def prepare(self, fault: Fault) -> Injection:
        """See Injector."""
        pod = self._cluster.pod(fault.pod)
        match fault:
            case PodKill():
                return _Killed(self._cluster, pod)
            case ContainerKill() | Restart():
                return _Restarted(pod, is_asked=isinstance(fault, Restart))
            case PodFailure():
                return _Down(pod)
            case PodPause():
                return _Paused(pod)
            case CpuStress() | MemoryStress():
                return LocalStress(self._cluster.run_beside, fault)
            case MessageLoss() | ClockOffset():
                stimulate = partial(effects.publish, pod.direct_url, pod.model, self._numbers)
                return EngineFault(pod.handle, fault, stimulate)
            case Cut():
                return LocalCut(pod, fault)
            case PacketLoss() | DiskLatency():
                raise NotRun(self.impossible(fault))
            case _:
                return ProxyFault(pod, fault, self._numbers)


class _Killed:
    """A pod is deleted, and the cluster starts another in its place."""

    def __init__(self, cluster: LocalCluster, pod: LocalPod) -> None:
        self._cluster, self._pod = cluster, pod
        self._before, self._acting = self._names(), False

    def inject(self) -> None:
        self._before, self._acting = self._names(), True
        self._cluster.kill_pod(self._pod.name)

    def recover(self) -> None:
        self._acting = False

    def measure(self) -> Effect:
        if not self._acting:
            return effects.missing(self._cluster.pods(), len(self._before))
        there = effects.ask(self._pod.handle.url) != effects.REFUSED
        came, runs = self._names() - self._before, self._pod.program.is_running
        return effects.killed(self._pod.name, there=there, runs=runs, came=came)

    def _names(self) -> set[str]:
        return {pod.name for pod in self._cluster.pods()}


class _Restarted:
    """The engine is killed, or asked to end, and starts again at once behind the same address."""

    def __init__(self, pod: LocalPod, *, is_asked: bool) -> None:
        self._end = pod.program.stop if is_asked else pod.program.kill
        self._pod, self._admin = pod, PodAdmin(pod.handle.admin_url)
        self._before: tuple[int, int] | None = None  # process id and epoch; None unless it was killed

    def inject(self) -> None:
        self._before = self._now()
        self._end()
        self._pod.come_back()

    def recover(self) -> None:
        self._before = None

    def measure(self) -> Effect:
        if self._before is None:
            said = effects.ask(self._pod.handle.url)
            return Effect(said != effects.ANSWERED, f"a request is {said}")
        return effects.restarted("process", self._before, self._now())

    def _now(self) -> tuple[int, int]:
        return self._pod.program.pid, self._admin.epoch()


class _Down:
    """The engine is killed, and starts again when the fault is taken back."""

    def __init__(self, pod: LocalPod) -> None:
        self._pod, self._acting = pod, False

    def inject(self) -> None:
        self._acting = True
        self._pod.kill()

    def recover(self) -> None:
        if self._acting:
            self._pod.come_back()
        self._acting = False

    def measure(self) -> Effect:
        said = effects.ask(self._pod.handle.url)
        shows = not self._pod.program.is_running and said == effects.REFUSED
        evidence = f"{_state(self._pod)}, a request is {said}"
        return Effect(shows if self._acting else said != effects.ANSWERED, evidence)


class _Paused:
    """The engine's process is stopped."""

    def __init__(self, pod: LocalPod) -> None:
        self._pod, self._acting = pod, False

    def inject(self) -> None:
        self._acting = True
        self._pod.program.pause()

    def recover(self) -> None:
        self._acting = False
        self._pod.program.resume()

    def measure(self) -> Effect:
        said = effects.ask(self._pod.direct_url)
        shows = self._pod.program.is_paused and said == effects.SILENT
        evidence = f"{_state(self._pod)}, a request is {said}"
        return Effect(shows if self._acting else said != effects.ANSWERED, evidence)


def _state(pod: LocalPod) -> str:
    program = pod.program
    state = "is stopped" if program.is_paused else "runs" if program.is_running else "is gone"
    return f"process {program.pid} {state}"
