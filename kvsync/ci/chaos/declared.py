"""The faults of `stages.toml` as those that are carried out. Pure."""

from kvsync.ci.project.chaos_stage import (
    BandwidthTable,
    CorruptionTable,
    CpuTable,
    DownTable,
    FaultTable,
    KillTable,
    LatencyTable,
    LossTable,
    MemoryTable,
    OutageTable,
    PartitionTable,
    PauseTable,
    PodSelector,
    ResetTable,
    RestartTable,
)
from kvsync.testing.clusters.cluster import PORTS
from kvsync.testing.faults.fault import (
    Bandwidth,
    ContainerKill,
    Corruption,
    CpuStress,
    Cut,
    Fault,
    Latency,
    MemoryStress,
    PacketLoss,
    Partition,
    PodFailure,
    PodKill,
    PodPause,
    PortsBlocked,
    Restart,
)


def fault_of(table: FaultTable, victim: str) -> Fault:  # noqa: C901 - one case for each kind
    """Return the fault that a table means, on a service, container or pod of this name."""
    match table:
        case LatencyTable(delay=delay, jitter=jitter):
            return Latency(pod=victim, delay_s=delay, jitter_s=jitter)
        case BandwidthTable(rate=rate):
            return Bandwidth(pod=victim, bytes_per_s=rate)
        case LossTable(fraction=fraction):
            return PacketLoss(pod=victim, fraction=fraction)
        case CorruptionTable(fraction=fraction):
            return Corruption(pod=victim, fraction=fraction)
        case PartitionTable(direction=direction):
            return Partition(pod=victim, direction=direction)
        case OutageTable():
            return PortsBlocked(pod=victim, ports=PORTS)
        case CpuTable(workers=workers, load=load):
            return CpuStress(pod=victim, workers=workers, load=load)
        case MemoryTable(workers=workers, size=size):
            return MemoryStress(pod=victim, workers=workers, size_bytes=size)
        case KillTable():
            is_pod = isinstance(table.on, PodSelector)
            return PodKill(pod=victim) if is_pod else ContainerKill(pod=victim)
        case DownTable():
            return PodFailure(pod=victim)
        case RestartTable():
            return Restart(pod=victim)
        case PauseTable():
            return PodPause(pod=victim)
        case ResetTable():
            return Cut(pod=victim)
