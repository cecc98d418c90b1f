"""CPU and memory stress beside a local pod: another program on the same machine."""

import time
from contextlib import suppress
from pathlib import Path

import psutil

from kvsync.testing.clusters.local.cluster import LocalCluster
from kvsync.testing.faults.fault import CpuStress, Effect, MemoryStress
from kvsync.testing.processes.program import Program
from kvsync.testing.results.verdicts import NotRun

LIMIT_S = 900.0
"""Stress ends by itself after it, whatever happens to us; longer than any fault is held."""
DEMAND_SHARE = 0.5
"""Of the CPU time asked for, so much has to be used or waited for: it starts while the time runs already."""
LEAST_SHARE = 0.05
"""So much of it has to be used: where it gets no more, others keep all cores busy.

Measured: 11 % among thirty other busy processes on two cores.
"""
SPARE_BYTES = 512 * 1024 * 1024
"""What must stay free for everything else on the machine."""


class StressFault:
    """Processes that burn CPU or hold memory while the fault acts."""

    def __init__(self, cluster: LocalCluster, fault: CpuStress | MemoryStress) -> None:
        self._cluster, self._fault = cluster, fault
        self._program: Program | None = None
        self._began = 0.0
        self._workers: list[psutil.Process] = []

    def inject(self) -> None:
        """Start them. Raises NotRun when the machine has too little memory."""
        if isinstance(self._fault, MemoryStress):
            require_memory(self._fault.size_bytes)
        self._began = time.monotonic()
        self._program = self._cluster.run_beside(
            f"stress-{self._fault.pod}", "kvsync.testing.faults.stress", arguments(self._fault)
        )

    def recover(self) -> None:
        """End them."""
        if self._program is not None:
            self._program.stop()
            self._program = None

    def measure(self) -> Effect:
        """Ask the kernel what they use."""
        if self._program is None:
            alive = [worker.pid for worker in self._workers if worker.is_running()]
            return Effect(bool(alive), f"stress processes: {alive or 'none'}")
        self._workers = psutil.Process(self._program.pid).children()
        match self._fault:
            case CpuStress(workers=workers, load=load):
                used_s = sum(
                    times.user + times.system for times in (each.cpu_times() for each in self._workers)
                )
                waited_s = sum(_waited_s(each.pid) for each in self._workers)
                past_s = time.monotonic() - self._began
                return burning(len(self._workers), used_s / past_s, waited_s / past_s, workers * load)
            case MemoryStress(size_bytes=size_bytes):
                return self._holding(size_bytes)

    def _holding(self, size_bytes: int) -> Effect:
        held = sum(each.memory_info().rss for each in self._workers)
        evidence = f"{len(self._workers)} processes hold {held >> 20} MiB"
        return Effect(held >= size_bytes, evidence)


def arguments(fault: CpuStress | MemoryStress) -> list[str]:
    """Return the arguments of the stress program."""
    match fault:
        case CpuStress(workers=workers, load=load):
            what = ["cpu", "--load", str(load)]
        case MemoryStress(workers=workers, size_bytes=size_bytes):
            what = ["memory", "--size", str(size_bytes)]
    return [*what, "--workers", str(workers), "--for", str(LIMIT_S)]


def burning(processes: int, use: float, wait: float, wanted: float) -> Effect:
    """Judge how many cores were used and waited for against how many were asked for. Pure."""
    evidence = f"{processes} processes use {use:.2f} cores and wait for {wait:.2f} of {wanted:g} asked for"
    return Effect(use >= LEAST_SHARE * wanted and use + wait >= DEMAND_SHARE * wanted, evidence)


def require_memory(size_bytes: int) -> None:
    """Raise NotRun when so much memory would not be free beside what others need."""
    available, needed = psutil.virtual_memory().available, size_bytes + SPARE_BYTES
    if available < needed:
        raise NotRun(f"needs {needed >> 20} MiB of free memory, {available >> 20} MiB are free")


def _waited_s(pid: int) -> float:
    """Return for how long a process waited for a core; 0 where the kernel does not tell."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    return 0.0
