"""What a run left behind: what its ledger does not know to be gone, and whatever else bears its label."""

import os
from collections.abc import Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from kvsync.ci.cleaning import labelled
from kvsync.ci.cleaning.launcher import LAUNCHER
from kvsync.ci.cleaning.reapers import in_order, is_inside, reached_with, reap
from kvsync.errors import KVSyncError
from kvsync.testing.errors import ClusterError, WaitTimeout
from kvsync.testing.processes.ledger import Ledger, LedgerEntry, leftovers
from kvsync.testing.processes.living import end, find_strays
from kvsync.testing.processes.tools import ON_PATH, Tools
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import read_lines
from kvsync.testing.results.outcome import Check, StageResult, merge

LATE_S = 3.0
"""How long Docker may go on doing what a killed client asked for. Seen: a second on a busy machine."""

ROUNDS = 3
"""How many times to look; after the first, nothing that could make more is alive. Where nothing was, once."""


@dataclass(frozen=True, slots=True)
class Residue:
    """What one run left behind."""

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
                    raise ClusterError(f"{_name(needing[0])} is still there and is reached with it")
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
    """Look for what the run of this ledger left behind, except the processes that we run in.

    `marked` is what bears the label of any run on this machine, for a caller that looks at many runs. That
    docker does not answer is reported only for a run that used it.
    """
    run = ledger.parent.name
    group = os.getpgrp()
    own = {group, os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    entries = [e for e in leftovers([ledger]) if e.kind != LAUNCHER and e.facts.get("pid") not in own]
    listed = {entry.facts.get("pid") for entry in entries}
    strays = [p for p in find_strays(run) if _group(p) != group and p.pid not in listed]
    used_docker = any(record.get("kind") in labelled.KINDS for record in read_lines(ledger))
    if marked is None:
        marked = labelled.on_this_machine(
            tools, timeout_s=labelled.ANSWER_S if used_docker else labelled.LOOK_S
        )
    unknown = [entry for entry in marked if used_docker and entry.kind == labelled.UNKNOWN]
    return Residue(run, [*entries, *_unlisted(run, entries, marked, tools), *unknown], strays)


def clear(residue: Residue, ledger: Ledger, tools: Tools = ON_PATH) -> dict[str, str]:
    """Remove what was found, and what was made meanwhile: its makers may have been alive until then.

    Returns why each thing is still there, by its line of `describe`; "" if it is gone.
    """
    fates: dict[str, str] = {}
    for _ in range(ROUNDS if residue else 0):
        lines = residue.describe()  # while they can still be asked what they are
        failures = residue.remove(ledger, tools)
        fates |= {line: failures.get(line, "") for line in lines}
        residue = _look_again(residue, ledger.path, tools, known=failures.keys())
        if set(residue.describe()) <= failures.keys():
            break
    return fates


def _look_again(before: Residue, ledger: Path, tools: Tools, known: Set[str]) -> Residue:
    """Return what is left now; if a client of Docker was killed, wait for what Docker is still making."""
    kinds = {entry.kind for entry in before.entries}
    late = bool(before.strays or "process" in kinds) and not kinds.isdisjoint(labelled.KINDS)
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
    """Return what bears the label of a run and is not among its entries.

    Namespaces are looked for in the Kubernetes clusters in which the run left one that its ledger has.
    """
    servers = {str(entry.facts.get("kubeconfig")): entry for entry in entries if entry.kind == "namespace"}
    found = [*marked, *(each for entry in servers.values() for each in labelled.in_cluster_of(entry, tools))]
    known = {(entry.kind, entry.name) for entry in entries}
    return [each for each in found if each.run == run and (each.kind, each.name) not in known]


def sweep(ledger: Ledger, *, keep: bool) -> StageResult:
    """Remove what the stages left behind; each leak is a check that did not pass and names what leaked.

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
