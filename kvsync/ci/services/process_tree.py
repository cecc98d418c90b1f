"""The processes of a server on this machine: the one that was started, and all that it started.

A process that is stopped ends with nobody: it notices no end of its parent and no polite signal. PostgreSQL's
are in sessions of their own besides, and clear the environment that would mark them as the run's. So each is
in the ledger while it is stopped.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

import psutil

from kvsync.testing.processes.ledger import Ledger, LedgerEntry
from kvsync.testing.processes.living import descendants

PAUSES = 20
"""How often processes are stopped that were started while others were being stopped."""


class Control(Protocol):
    """Reaches the processes of a server, of which the one with the id `pid` was started."""

    @property
    def cannot_pause(self) -> str:
        """Why they cannot be stopped where they are; "" where they can."""

    def ask_to_end(self, pid: int, grace_s: float) -> None:
        """Let them end by themselves, where signals to the one process would not do that."""

    def kill(self, pid: int) -> None:
        """End all of them at once, without their cooperation."""

    def pause(self, pid: int) -> None:
        """Stop all of them where they are."""

    def resume(self, pid: int) -> None:
        """Let all of them go on."""

    def is_paused(self, pid: int) -> bool:
        """Say whether all of them are stopped."""

    def clear(self) -> None:
        """End those that are still stopped although the one that was started is gone."""


class ProcessTree:
    """A Control for processes of this machine's, which the ledger calls `name`."""

    cannot_pause = ""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._ledger, self._name = ledger, name
        self._stopped: dict[psutil.Process, LedgerEntry] = {}

    def ask_to_end(self, pid: int, grace_s: float) -> None:
        """See Control: signals do."""

    def kill(self, pid: int) -> None:
        """See Control."""
        _each(_tree(pid), psutil.Process.kill)
        self.clear()

    def pause(self, pid: int) -> None:
        """See Control; what was started meanwhile, too."""
        for _ in range(PAUSES):
            if self.is_paused(pid):
                return
            found = _tree(pid)
            for process in found[1:]:  # the first is in the ledger as long as it runs
                self._note(process)
            _each(found, psutil.Process.suspend)

    def resume(self, pid: int) -> None:
        """See Control."""
        _each({**dict.fromkeys(_tree(pid)), **self._stopped}, psutil.Process.resume)
        self._forget()

    def is_paused(self, pid: int) -> bool:
        """See Control."""
        # One that has ended stays there for its parent, which is stopped.
        return {_status(each) for each in _tree(pid)} <= {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}

    def clear(self) -> None:
        """See Control."""
        _each(self._stopped, psutil.Process.kill)
        self._forget()

    def _note(self, process: psutil.Process) -> None:
        """Write a process down before it is stopped."""
        if process not in self._stopped:
            facts = {"pid": process.pid, "create_time": process.create_time()}
            self._stopped[process] = self._ledger.intend("process", f"{self._name}, paused", **facts)

    def _forget(self) -> None:
        for entry in self._stopped.values():
            self._ledger.released(entry)
        self._stopped.clear()


def _each(processes: Iterable[psutil.Process], do: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            do(process)


def _tree(pid: int) -> list[psutil.Process]:
    """Return a process and all that it started, itself first; nothing if it is gone."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return []
    return [process, *descendants(process)]


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_ZOMBIE)
