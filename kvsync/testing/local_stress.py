"""CPU and memory stress beside a local pod: another program on the same machine."""

import time

import psutil

from kvsync.testing.faults import CpuStress, Effect, MemoryStress
from kvsync.testing.local import LocalCluster
from kvsync.testing.program import Program
from kvsync.testing.verdicts import NotRun

LIMIT_S = 900.0
"""Stress ends by itself after it, whatever happens to us; longer than any fault is held."""
LEAST_SHARE = 0.05
"""Of the CPU time asked for, so much proves the stress: where it gets no more, others keep all cores busy.

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
            f"stress-{self._fault.pod}", "kvsync.testing.stress", arguments(self._fault)
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
                return self._burning(workers * load)
            case MemoryStress(size_bytes=size_bytes):
                return self._holding(size_bytes)

    def _burning(self, cores: float) -> Effect:
        used_s = sum(times.user + times.system for times in (each.cpu_times() for each in self._workers))
        share = used_s / (time.monotonic() - self._began)
        evidence = f"{len(self._workers)} processes use {share:.2f} cores of {cores:g} asked for"
        return Effect(share >= LEAST_SHARE * cores, evidence)

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


def require_memory(size_bytes: int) -> None:
    """Raise NotRun when so much memory would not be free beside what others need."""
    available, needed = psutil.virtual_memory().available, size_bytes + SPARE_BYTES
    if available < needed:
        raise NotRun(f"needs {needed >> 20} MiB of free memory, {available >> 20} MiB are free")
