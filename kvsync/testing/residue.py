"""What a run left behind: what its ledger does not know to be gone, and processes that bear its mark."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from kvsync.testing.ledger import Entry, Ledger, end, find_strays, leftovers, reap
from kvsync.testing.outcome import Check, StageResult, merge

LAUNCHER = "launcher"
"""The kind of the ledger entry of the process that started a run: while it lives, the run does."""


@dataclass(frozen=True, slots=True)
class Residue:
    """What is left of one run."""

    run: str
    entries: Sequence[Entry]
    strays: Sequence[psutil.Process]

    def __bool__(self) -> bool:
        return bool(self.entries or self.strays)

    def describe(self) -> list[str]:
        """Name each thing, one line each."""
        lines = [f"{entry.kind} {entry.facts.get('pid', '')} {entry.name}" for entry in self.entries]
        return lines + [f"process {stray.pid} {_command(stray)}" for stray in self.strays]

    def remove(self, ledger: Ledger) -> None:
        """End and delete all of it; raises WaitTimeout for a process that survives SIGKILL."""
        for entry in self.entries:
            reap(entry)
            ledger.released(entry)
        end(self.strays)


def find(ledger: Path) -> Residue:
    """Look for what the run of this ledger left, apart from the processes that we run in."""
    run = ledger.parent.name
    group = os.getpgrp()
    own = {group, os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    entries = [e for e in leftovers([ledger]) if e.kind != LAUNCHER and e.facts.get("pid") not in own]
    listed = {entry.facts.get("pid") for entry in entries}
    strays = [p for p in find_strays(run) if _group(p) != group and p.pid not in listed]
    return Residue(run, entries, strays)


def is_running(ledger: Path) -> bool:
    """Say whether the process that started the run is alive: then nothing of the run is left behind yet."""
    for entry in leftovers([ledger]):
        match entry:
            case Entry(kind="launcher", facts={"pid": int(pid), "create_time": float(born)}):
                return psutil.pid_exists(pid) and abs(psutil.Process(pid).create_time() - born) < 1
    return False


def sweep(ledger: Ledger, *, keep: bool) -> StageResult:
    """Remove what the stages left; a leak is a check that did not pass, and names what leaked.

    With `keep` nothing is removed, and what stays is listed.
    """
    residue = find(ledger.path)
    if not keep:
        residue.remove(ledger)
    kept = "kept as asked, `kvsync-ci clean` ends it" if keep else "was left behind and has been removed"
    checks = [
        Check(name=line, kind="xfailed" if keep else "inconclusive", detail=f"{line}: {kept}")
        for line in residue.describe()
    ]
    nothing = Check(name="nothing is left behind", kind="passed")
    return merge("residue", checks or [nothing], started_at=datetime.now(UTC))


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "(ended meanwhile)"
