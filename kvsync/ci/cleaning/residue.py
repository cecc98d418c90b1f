"""What a run left behind: what its ledger does not know to be gone, and whatever else bears its mark."""

import os
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from kvsync.ci.cleaning import marks
from kvsync.ci.cleaning.reapers import in_order, is_inside, reached_with, reap
from kvsync.errors import KVSyncError
from kvsync.testing.errors import ClusterError, WaitTimeout
from kvsync.testing.processes.ledger import Ledger, LedgerEntry, leftovers
from kvsync.testing.processes.living import end, find_strays, lives
from kvsync.testing.processes.tools import ON_PATH, Tools
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import read_lines
from kvsync.testing.results.outcome import Check, StageResult, merge

LAUNCHER = "launcher"
"""The kind of the ledger entry of the process that started a run: while it lives, the run does."""

LATE_S = 3.0
"""How long Docker may go on with what a killed client had asked for. Seen: a second on a busy machine."""

ROUNDS = 3
"""How often one looks again; after the first, nothing that could make more is alive."""


@dataclass(frozen=True, slots=True)
class Residue:
    """What is left of one run."""

    run: str
    entries: Sequence[LedgerEntry]
    strays: Sequence[psutil.Process]

    def __bool__(self) -> bool:
        return bool(self.entries or self.strays)

    def describe(self) -> list[str]:
        """Name each thing, one line each."""
        lines = [_name(entry) for entry in self.entries]
        return lines + [_stray(stray) for stray in self.strays]

    def remove(self, ledger: Ledger, tools: Tools = ON_PATH) -> dict[str, str]:
        """End and delete all of it; returns why something is still there, by its line of `describe`."""
        failures: dict[str, str] = {}
        try:
            # First, because they could go on creating things.
            end(self.strays)
        except KVSyncError as exc:
            failures |= {_stray(stray): str(exc) for stray in self.strays if stray.is_running()}
        clusters: list[LedgerEntry] = []
        failed: list[LedgerEntry] = []
        for entry in in_order(self.entries):
            try:
                if needing := reached_with(entry, failed):
                    raise ClusterError(f"{_name(needing[0])} is there still and is reached with it")
                if not any(is_inside(entry, cluster) for cluster in clusters):
                    reap(entry, tools)
            except (KVSyncError, OSError, psutil.Error) as exc:
                failed.append(entry)
                failures[_name(entry)] = str(exc)
                continue
            ledger.released(entry)
            if entry.kind == "kind-cluster":
                clusters.append(entry)
        return failures


def find(ledger: Path, tools: Tools = ON_PATH, marked: Sequence[LedgerEntry] | None = None) -> Residue:
    """Look for what the run of this ledger left, apart from the processes that we run in.

    `marked` is what bears the mark of any run on this machine, for a caller that looks at many runs. That a
    docker does not answer is told of a run that used it.
    """
    run = ledger.parent.name
    group = os.getpgrp()
    own = {group, os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    entries = [e for e in leftovers([ledger]) if e.kind != LAUNCHER and e.facts.get("pid") not in own]
    listed = {entry.facts.get("pid") for entry in entries}
    strays = [p for p in find_strays(run) if _group(p) != group and p.pid not in listed]
    dockered = any(record.get("kind") in marks.KINDS for record in read_lines(ledger))
    if marked is None:
        marked = marks.on_this_machine(tools, timeout_s=marks.ANSWER_S if dockered else marks.LOOK_S)
    unknown = [entry for entry in marked if dockered and entry.kind == marks.UNKNOWN]
    return Residue(run, [*entries, *_unlisted(run, entries, marked, tools), *unknown], strays)


def clear(residue: Residue, ledger: Ledger, tools: Tools = ON_PATH) -> dict[str, str]:
    """Remove what was found, and what came into being meanwhile: its makers may have been alive till then.

    Returns each thing by its line of `describe`, with why it is still there, or "".
    """
    fates: dict[str, str] = {}
    for _ in range(ROUNDS):
        lines = residue.describe()  # while they can still be asked what they are
        failures = residue.remove(ledger, tools)
        fates |= {line: failures.get(line, "") for line in lines}
        residue = _look_again(residue, ledger.path, tools, known=failures.keys())
        if set(residue.describe()) <= failures.keys():
            break
    return fates


def _look_again(before: Residue, ledger: Path, tools: Tools, known: Set[str]) -> Residue:
    """Return what is left now; where a client of Docker was killed, what Docker still makes is waited for."""
    kinds = {entry.kind for entry in before.entries}
    late = bool(before.strays or "process" in kinds) and not kinds.isdisjoint(marks.KINDS)
    latest = before

    def more() -> bool:
        nonlocal latest
        latest = find(ledger, tools)
        return not set(latest.describe()) <= known

    with suppress(WaitTimeout):
        wait_for(more, what="more is there", timeout_s=LATE_S if late else 0, interval_s=0.5)
    return latest


def _unlisted(
    run: str, entries: Sequence[LedgerEntry], marked: Sequence[LedgerEntry], tools: Tools
) -> list[LedgerEntry]:
    """Return what bears the mark of a run and is not among its entries.

    Namespaces are looked for in the Kubernetes clusters where the run left one that it knew of.
    """
    servers = {str(entry.facts.get("kubeconfig")): entry for entry in entries if entry.kind == "namespace"}
    found = [*marked, *(each for entry in servers.values() for each in marks.beside(entry, tools))]
    known = {(entry.kind, entry.name) for entry in entries}
    return [each for each in found if each.run == run and (each.kind, each.name) not in known]


def is_running(ledger: Path) -> bool:
    """Say whether the process that started the run is alive: then nothing of the run is left behind yet."""
    for entry in leftovers([ledger]):
        match entry:
            case LedgerEntry(kind="launcher", facts={"pid": int(pid), "create_time": float(born)}):
                return lives(pid, born)
    return False


def sweep(ledger: Ledger, *, keep: bool) -> StageResult:
    """Remove what the stages left; a leak is a check that did not pass, and names what leaked.

    With `keep` nothing is removed, and what stays is listed.
    """
    residue = find(ledger.path)
    fates = dict.fromkeys(residue.describe(), "") if keep else clear(residue, ledger)

    def fate(line: str) -> str:
        if keep:
            return "kept as asked, `kvsync-ci clean` ends it"
        return "was left behind and " + (f"stays: {fates[line]}" if fates[line] else "has been removed")

    checks = [
        Check(name=line, kind="xfailed" if keep else "inconclusive", detail=f"{line}: {fate(line)}")
        for line in fates
    ]
    nothing = Check(name="nothing is left behind", kind="passed")
    return merge("residue", checks or [nothing], started_at=datetime.now(UTC))


def _name(entry: LedgerEntry) -> str:
    pid = entry.facts.get("pid")
    return f"{entry.kind} {pid} {entry.name}" if pid else f"{entry.kind} {entry.name}"


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


def _stray(process: psutil.Process) -> str:
    try:
        return f"process {process.pid} {' '.join(process.cmdline())}"
    except psutil.Error:
        return f"process {process.pid} (ended meanwhile)"
