"""Processes of a run: found by id and start time or by the mark of the run, and ended."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from kvsync.errors import UnknownName
from kvsync.testing.processes.ledger import RUN_VARIABLE, LedgerEntry
from kvsync.testing.processes.scratch import remove
from kvsync.testing.processes.wait import wait_for

GRACE_S = 5.0
"""How long a process may take to end by itself before it is killed."""

START_TOLERANCE_S = 1.0
"""Start times derive from the boot time, which the kernel rounds to seconds and clock changes move."""


def reap(entry: LedgerEntry, *, grace_s: float = GRACE_S) -> bool:
    """Remove what an entry stands for; False when it was gone already.

    Raises UnknownName for a kind that needs other means, and WaitTimeout when a process survives SIGKILL.
    """
    match entry.kind:
        case "process":
            members = _members(entry)
            end(members, grace_s=grace_s)
            return bool(members)
        case "path":
            return remove(Path(entry.name))
    raise UnknownName("kind of ledger entry", entry.kind, ("process", "path"))


def find_strays(run: str) -> list[psutil.Process]:
    """Return the living processes of a run, without this one and its ancestors."""
    here = psutil.Process()
    own = {here.pid, *(parent.pid for parent in here.parents())}
    return [process for process in psutil.process_iter() if process.pid not in own and _is_of(process, run)]


def end(processes: Iterable[psutil.Process], *, grace_s: float = GRACE_S) -> None:
    """Ask processes to end and kill those that do not; raises WaitTimeout when one survives even that."""
    alive = [process for process in processes if _is_alive(process)]
    for number in (signal.SIGTERM, signal.SIGCONT):  # one that is stopped heeds it once it goes on
        for process in alive:
            _signal(process, number)
    deadline = time.monotonic() + grace_s
    while alive and time.monotonic() < deadline:
        _, alive = psutil.wait_procs(alive, timeout=0.05)
        alive = [process for process in alive if _is_alive(process)]
    for process in alive:
        _signal(process, signal.SIGKILL)
    wait_for(
        lambda: not any(map(_is_alive, alive)),
        what=f"killed processes {[process.pid for process in alive]} are gone",
        timeout_s=GRACE_S,
    )


def facts_of(pid: int) -> dict[str, float]:
    """Return what tells a living process from all others."""
    return {"pid": pid, "create_time": psutil.Process(pid).create_time()}


def lives(pid: int, born: float) -> bool:
    """Say whether the process with this id and start time still runs."""
    try:
        return _leads(pid, born) and _is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """Return what a living process started, and what that started, whatever sessions they made."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _members(entry: LedgerEntry) -> list[psutil.Process]:
    """Return the process of an entry, its group and all that it started.

    Without the leader: those of its group that are marked with the run.
    """
    match entry.facts:
        case {"pid": int(pid), "create_time": float(born)}:
            leads = _leads(pid, born)
            group = [each for each in psutil.process_iter() if pid in {each.pid, _group(each)}]
            started = descendants(psutil.Process(pid)) if leads else []
            every = dict.fromkeys([*group, *started])
            return [each for each in every if _is_alive(each) and (leads or _is_of(each, entry.run))]
    return []


def _leads(pid: int, born: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - born) < START_TOLERANCE_S
    except psutil.Error:
        return False


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except OSError:
        return None


def _is_of(process: psutil.Process, run: str) -> bool:
    try:
        return _is_alive(process) and process.environ().get(RUN_VARIABLE) == run
    except (psutil.Error, OSError):
        return False


def _is_alive(process: psutil.Process) -> bool:
    """Say whether it still runs; a zombie, which only its parent can remove, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
