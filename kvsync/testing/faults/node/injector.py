"""Carries faults out on a Kind cluster, whose nodes are containers here and can be entered.

Effects are measured with requests and connections of our own, and by the node's kernel. While a fault acts,
the whole effect has to show; at other times anything short of a healthy pod, which Kubernetes finds ready,
is taken for the fault.

Network faults hit the kubelet's probes like any other traffic, so a pod that they cannot reach is soon not
ready, and Kubernetes tells the gateway so. A real partition does the same.
"""

import itertools
from collections.abc import Mapping
from functools import partial

from kvsync.testing.clusters.cluster import PORTS
from kvsync.testing.clusters.kubernetes.cluster import KubernetesCluster
from kvsync.testing.faults import effects
from kvsync.testing.faults.engine import EngineFault
from kvsync.testing.faults.fault import (
    ClockOffset,
    ContainerKill,
    CpuStress,
    Cut,
    DiskLatency,
    Fault,
    HttpDelay,
    Latency,
    MemoryStress,
    MessageLoss,
    PodFailure,
    PodKill,
    PodPause,
    Restart,
)
from kvsync.testing.faults.holding import Injection
from kvsync.testing.faults.node.changes import Changes
from kvsync.testing.faults.node.engine import ContainerKillFault, FailureFault, KillFault, PauseFault
from kvsync.testing.faults.node.network import NodeCut, RuleFault
from kvsync.testing.faults.node.pod import NodePod
from kvsync.testing.faults.node.stress import NodeStress
from kvsync.testing.results.verdicts import NotRun

IMPOSSIBLE: Mapping[type[Fault], str] = {
    DiskLatency: "a file system is slowed down by a layer below it, which a node has not",
    Restart: "Kubernetes asks a container to end only together with its pod",
    HttpDelay: "requests are delayed by a proxy in front of the pod, which a node has not",
}


class NodeInjector:
    """An Injector for one cluster on a Kind machine; for one elsewhere every fault is NotRun."""

    def __init__(self, cluster: KubernetesCluster) -> None:
        self._cluster = cluster
        self._numbers = itertools.count(1_000_000)

    @staticmethod
    def impossible(fault: Fault) -> str:
        """See Injector."""
        reason = IMPOSSIBLE.get(type(fault), "")
        if isinstance(fault, Latency) and set(fault.ports) != set(PORTS):
            reason = "netem delays all that passes a pod's link, not one port alone"
        return f"not possible from a node: {reason}" if reason else ""

    def prepare(self, fault: Fault) -> Injection:
        """See Injector."""
        if reason := self.impossible(fault):
            raise NotRun(reason)
        if not self._cluster.site.machine.kind:
            raise NotRun("only the nodes of a Kind cluster can be entered, and this one is not Kind's")
        pod, ledger = NodePod(self._cluster, fault.pod), self._cluster.site.ledger
        match fault:
            case PodKill():
                return KillFault(self._cluster, pod)
            case ContainerKill():
                return ContainerKillFault(pod)
            case PodFailure():
                return FailureFault(self._cluster, pod)
            case PodPause():
                return PauseFault(pod, Changes(pod.node, ledger))
            case CpuStress() | MemoryStress():
                return NodeStress(self._cluster, pod, fault)
            case MessageLoss() | ClockOffset():
                stimulate = partial(effects.publish, pod.handle.url, pod.handle.model, self._numbers)
                return EngineFault(pod.handle, fault, stimulate)
            case Cut():
                return NodeCut(pod, fault)
            case DiskLatency() | HttpDelay() | Restart():
                raise NotRun(self.impossible(fault))
            case _:
                return RuleFault(pod, fault, ledger)
