"""CPU and memory stress next to a local process: another program on the same machine."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from kvsync.testing.faults.fault import CpuStress, MemoryStress
from kvsync.testing.faults.holding import Effect
from kvsync.testing.faults.stressing import PROGRAM, arguments, burning, holding, require_memory
from kvsync.testing.processes.program import Program


class LocalStress:
    """Processes that burn CPU or hold memory while the fault acts; `run_beside` starts a module by name."""

    def __init__(
        self, run_beside: Callable[[str, str, Sequence[str]], Program], fault: CpuStress | MemoryStress
    ) -> None:
        self._run_beside, self._fault = run_beside, fault
        self._program: Program | None = None
        self._began = 0.0
        self._workers: list[psutil.Process] = []

    def inject(self) -> None:
        """Start them. Raises NotRun when the machine has too little memory."""
        if isinstance(self._fault, MemoryStress):
            require_memory(self._fault.size_bytes)
        self._began = time.monotonic()
        name = f"stress-{self._fault.pod}"
        self._program = self._run_beside(name, PROGRAM, arguments(self._fault))

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
                held = sum(each.memory_info().rss for each in self._workers)
                return holding(len(self._workers), held, size_bytes)


def _waited_s(pid: int) -> float:
    """Return for how long a process waited for a core; 0 where the kernel does not tell."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    return 0.0
