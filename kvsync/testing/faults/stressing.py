"""How much stress is stress: the program's arguments, and what must be seen of it."""

import psutil

from kvsync.testing.faults.fault import CpuStress, MemoryStress
from kvsync.testing.faults.holding import Effect
from kvsync.testing.results.verdicts import NotRun

PROGRAM = "kvsync.testing.faults.stress"
"""The module that burns CPU or holds memory."""

LIMIT_S = 900.0
"""Stress ends by itself after this time, whatever happens to us; longer than any fault is held."""

DEMAND_SHARE = 0.5
"""The share of the CPU time asked for that has to be used or waited for: the clock runs while it starts."""

LEAST_SHARE = 0.05
"""How much of it has to be used even when other processes keep all cores busy.

Measured: 11 % among thirty other busy processes on two cores.
"""

SPARE_BYTES = 512 * 1024 * 1024
"""What must stay free for everything else on the machine."""


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
    uses, waits = ("process uses", "waits") if processes == 1 else ("processes use", "wait")
    evidence = f"{processes} {uses} {use:.2f} cores and {waits} for {wait:.2f} of {wanted:g} asked for"
    return Effect(use >= LEAST_SHARE * wanted and use + wait >= DEMAND_SHARE * wanted, evidence)


def holding(processes: int, held_bytes: int, wanted_bytes: int) -> Effect:
    """Judge how much memory is held against how much was asked for. Pure."""
    hold = "process holds" if processes == 1 else "processes hold"
    return Effect(held_bytes >= wanted_bytes, f"{processes} {hold} {held_bytes >> 20} MiB")


def require_memory(size_bytes: int) -> None:
    """Raise NotRun when that much memory would not be free on top of what others need."""
    available, needed = psutil.virtual_memory().available, size_bytes + SPARE_BYTES
    if available < needed:
        raise NotRun(f"needs {needed >> 20} MiB of free memory, {available >> 20} MiB are free")
