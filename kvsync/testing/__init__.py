"""The test kit: what tests of a KV-cache-aware system import.

A name is imported when it is first used, so that `import kvsync.testing` alone needs nothing but the standard
library: programs of the kit run inside engine containers, which have no more than the gateway's dependencies.
Everything else in the kit is free to change.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvsync.testing.clusters.cluster import Cluster, ClusterProvider, PodHandle
    from kvsync.testing.clusters.endpoints import GatewayView, PodAdmin
    from kvsync.testing.clusters.local.cluster import LocalProvider
    from kvsync.testing.errors import ClusterError, CommandError, InfrastructureError, WaitTimeout
    from kvsync.testing.faults.fault import (
        Bandwidth,
        ClockOffset,
        ContainerKill,
        Corruption,
        CpuStress,
        Cut,
        DiskLatency,
        Fault,
        HttpDelay,
        Latency,
        MemoryStress,
        MessageLoss,
        OneShot,
        PacketLoss,
        Partition,
        PodFailure,
        PodKill,
        PodPause,
        PortsBlocked,
        Restart,
        Stall,
    )
    from kvsync.testing.faults.holding import Effect, Episode, Injection, Injector, active
    from kvsync.testing.oracle.tables import Comparison, Violation
    from kvsync.testing.processes.ledger import Ledger
    from kvsync.testing.processes.wait import wait_for
    from kvsync.testing.results.history import History
    from kvsync.testing.results.measurement import Measurement, Measurements
    from kvsync.testing.results.verdicts import Inconclusive, NotRun, Violated, Void
    from kvsync.testing.scenarios.fixtures import own_cluster, provider, scenario
    from kvsync.testing.scenarios.injectors import injector_class, make_injector
    from kvsync.testing.scenarios.quiesce import compare_at_rest, settle
    from kvsync.testing.scenarios.recovery import await_recovery
    from kvsync.testing.scenarios.scenario import Scenario, by_pod

__all__ = [
    "Bandwidth",
    "ClockOffset",
    "Cluster",
    "ClusterError",
    "ClusterProvider",
    "CommandError",
    "Comparison",
    "ContainerKill",
    "Corruption",
    "CpuStress",
    "Cut",
    "DiskLatency",
    "Effect",
    "Episode",
    "Fault",
    "GatewayView",
    "History",
    "HttpDelay",
    "Inconclusive",
    "InfrastructureError",
    "Injection",
    "Injector",
    "Latency",
    "Ledger",
    "LocalProvider",
    "Measurement",
    "Measurements",
    "MemoryStress",
    "MessageLoss",
    "NotRun",
    "OneShot",
    "PacketLoss",
    "Partition",
    "PodAdmin",
    "PodFailure",
    "PodHandle",
    "PodKill",
    "PodPause",
    "PortsBlocked",
    "Restart",
    "Scenario",
    "Stall",
    "Violated",
    "Violation",
    "Void",
    "WaitTimeout",
    "active",
    "await_recovery",
    "by_pod",
    "compare_at_rest",
    "injector_class",
    "make_injector",
    "own_cluster",
    "provider",
    "scenario",
    "settle",
    "wait_for",
]

_HOMES = {
    "clusters.cluster": "Cluster ClusterProvider PodHandle",
    "clusters.endpoints": "GatewayView PodAdmin",
    "clusters.local.cluster": "LocalProvider",
    "errors": "ClusterError CommandError InfrastructureError WaitTimeout",
    "faults.fault": (
        "Bandwidth ClockOffset ContainerKill Corruption CpuStress Cut DiskLatency Fault HttpDelay "
        "Latency MemoryStress MessageLoss OneShot PacketLoss Partition PodFailure PodKill PodPause "
        "PortsBlocked Restart Stall"
    ),
    "faults.holding": "Effect Episode Injection Injector active",
    "oracle.tables": "Comparison Violation",
    "processes.ledger": "Ledger",
    "processes.wait": "wait_for",
    "results.history": "History",
    "results.measurement": "Measurement Measurements",
    "results.verdicts": "Inconclusive NotRun Violated Void",
    "scenarios.fixtures": "own_cluster provider scenario",
    "scenarios.injectors": "injector_class make_injector",
    "scenarios.quiesce": "compare_at_rest settle",
    "scenarios.recovery": "await_recovery",
    "scenarios.scenario": "Scenario by_pod",
}
"""The module of each name."""


def __getattr__(name: str) -> object:
    """Import a public name."""
    for module, names in _HOMES.items():
        if name in names.split():
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return [*globals(), *__all__]
