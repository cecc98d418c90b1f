"""Watches what a box uses while it is in use, and ends it when that is too much.

The kernel holds each process to its limits, and temporary files to theirs; what no limit of a process covers
is looked at here: the memory of all together, and what lies on the disk.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from kvsync.ci.box.box import BoxLimits

TICK_S = 0.5

SHARE = 20
"""A look may use a twentieth of a processor: the next one waits twenty times as long as it computed."""

COUNTED_EVERY = 8
"""How many looks there are for one at which files are counted, which takes longest."""

ENTRIES = 200_000
DEEPEST = 64
"""Files of the folders, and levels: more make looking at them, and removing them, an attack."""

RESERVE = 1024**3
"""What a disk keeps free, whatever fills it."""


@dataclass(slots=True)
class BoxWatch:
    """Looks at the processes below `first` and at what lies in `folders`; `why` says what was too much."""

    limits: BoxLimits
    folders: tuple[Path, ...]
    first: Callable[[], psutil.Process | None]
    on_tick: Callable[[], None]
    why: str = ""
    _looks: int = 0
    _done: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """End the box if it uses too much."""
        first = self.first()
        if first is None or self.why:
            return
        try:
            self.why = self._excess(first)
        except Exception as exc:
            self.why = f"what it uses could not be seen: {type(exc).__name__}: {exc}"
        if self.why:
            with suppress(psutil.NoSuchProcess):
                first.kill()

    def _excess(self, first: psutil.Process) -> str:
        with suppress(psutil.NoSuchProcess):
            members = first.children(recursive=True)
            used = sum(map(_memory, members))
            if used > self.limits.memory:  # then exactly, since what several processes share counts once
                used = sum(map(_share_of_memory, members))
            if used > self.limits.memory:
                return f"it used {_shown(used)} of memory; the limit is {_shown(self.limits.memory)}"
        self._looks += 1
        if self._looks % COUNTED_EVERY == 0:
            try:
                used = disk_use(self.folders)
            except OverflowError as exc:
                return str(exc)
            if used > self.limits.disk:
                return f"it used {_shown(used)} of the disk; the limit is {_shown(self.limits.disk)}"
        if (free := shutil.disk_usage(self.folders[0]).free) < RESERVE:
            return f"the disk has only {_shown(free)} left"
        return ""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look again and again, in a thread."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def _watch(self) -> None:
        wait_s = TICK_S
        while not self._done.wait(wait_s):
            began = time.thread_time()
            self.on_tick()
            self.look()
            wait_s = max(TICK_S, SHARE * (time.thread_time() - began))


def disk_use(folders: Iterable[Path]) -> int:
    """Return how many bytes lie in folders; OverflowError where there are too many files to count."""
    used = entries = 0
    todo = [(str(folder), 0) for folder in folders]
    while todo:
        folder, depth = todo.pop()
        if depth > DEEPEST:
            raise OverflowError(f"it made folders more than {DEEPEST} deep")
        # What goes meanwhile is not there any more; what cannot be read is bounded by the disk's reserve.
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError), os.scandir(folder) as found:
            for entry in found:
                entries += 1
                if entries > ENTRIES:
                    raise OverflowError(f"it made more than {ENTRIES} files")
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    used += status.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        todo.append((entry.path, depth + 1))
    return used


def _memory(process: psutil.Process, file: str = "status", prefix: str = "Rss") -> int:
    """Return the bytes that only go when the process does: not those of files, which the kernel has too."""
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{process.pid}/{file}").read_text(encoding="utf-8", errors="replace").splitlines()
        kinds = (f"{prefix}Anon:", f"{prefix}Shmem:")
        return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(kinds))
    return 0


def _share_of_memory(process: psutil.Process) -> int:
    try:
        return _memory(process, "smaps_rollup", "Pss_")
    except PermissionError:  # it can forbid that, and is none the lighter for it
        return _memory(process)


def _shown(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB"
