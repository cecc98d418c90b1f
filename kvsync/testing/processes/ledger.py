"""What a run created and must not leave behind, written down before it exists.

- An entry is intended (before the thing exists), created (with the facts to find it), released (it is gone).
- Each line is on the disk before the call returns, so whoever cleans up after a SIGKILL knows of everything;
  a line torn by the kill is ignored.
- A process is known by its id and start time together, because ids are used again. Whatever escaped that is
  found by the variable `KVSYNC_RUN`, which every child inherits.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import psutil

from kvsync.errors import UnknownName
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import Record, read_lines

RUN_VARIABLE = "KVSYNC_RUN"
"""The environment variable that marks every process of a run with the run's id."""

GRACE_S = 5.0
"""How long a process may take to end by itself before it is killed."""

START_TOLERANCE_S = 1.0
"""Start times derive from the boot time, which the kernel rounds to seconds and clock changes move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing a run creates; `facts` say how to find it."""

    id: str
    kind: str
    name: str
    run: str
    facts: Mapping[str, object] = field(default_factory=dict)


class Ledger:
    """The ledger of one run, in one file of JSON lines; safe to write from several processes."""

    def __init__(self, path: Path, run: str = "") -> None:
        self.path = path
        self.run = run or path.parent.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            self._write(b"\n")

    @property
    def environment(self) -> dict[str, str]:
        """What to add to the environment of every child."""
        return {RUN_VARIABLE: self.run}

    def intend(self, kind: str, name: str, **facts: object) -> Entry:
        """Write down what is about to be created."""
        entry = Entry(id=secrets.token_hex(4), kind=kind, name=name, run=self.run, facts=facts)
        self._append("intend", entry, kind=kind, name=name, run=self.run, facts=facts)
        return entry

    def created(self, entry: Entry, **facts: object) -> Entry:
        """Write down that it exists, and how to find it; returns the entry with these facts."""
        self._append("created", entry, facts=facts)
        return replace(entry, facts={**entry.facts, **facts})

    def released(self, entry: Entry) -> None:
        """Write down that it is gone."""
        self._append("released", entry)

    def _append(self, event: str, entry: Entry, **fields: object) -> None:
        record = {"event": event, "id": entry.id, "wall": time.time(), **fields}
        self._write(json.dumps(record, default=str).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        with self.path.open("ab", buffering=0) as file:
            file.write(line)
            os.fsync(file.fileno())


def leftovers(paths: Iterable[Path]) -> list[Entry]:
    """Return what these ledgers do not know to be gone, the newest first."""
    return unreleased(record for path in paths for record in read_lines(path))


def unreleased(records: Iterable[Record]) -> list[Entry]:
    """Return the entries without a release among the lines of a ledger, the newest first."""
    entries: dict[object, Entry] = {}
    for record in records:
        match record:
            case {"event": "intend", "id": str(id_), "kind": str(kind), "name": str(name), "run": str(run)}:
                entries[id_] = Entry(id=id_, kind=kind, name=name, run=run, facts=_facts(record))
            case {"event": "created", "id": id_} if id_ in entries:
                known = entries[id_]
                entries[id_] = replace(known, facts={**known.facts, **_facts(record)})
            case {"event": "released", "id": id_}:
                entries.pop(id_, None)
    return list(reversed(entries.values()))


def _facts(record: Record) -> Mapping[str, object]:
    return cast("Mapping[str, object]", record.get("facts", {}))


def reap(entry: Entry, *, grace_s: float = GRACE_S) -> bool:
    """Remove what an entry stands for; False when it was gone already.

    Raises UnknownName for a kind that needs other means, and WaitTimeout when a process survives SIGKILL.
    """
    match entry.kind:
        case "process":
            members = _members(entry)
            end(members, grace_s=grace_s)
            return bool(members)
        case "path":
            return _remove(Path(entry.name))
    raise UnknownName("kind of ledger entry", entry.kind, ("process", "path"))


@contextlib.contextmanager
def scratch(ledger: Ledger, path: Path) -> Iterator[Path]:
    """Make an empty folder that is gone afterwards, and in the ledger until then."""
    entry = ledger.intend("path", str(path))
    _remove(path)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        _remove(path)
        ledger.released(entry)


def find_strays(run: str) -> list[psutil.Process]:
    """Return the living processes of a run, without this one and its ancestors."""
    here = psutil.Process()
    own = {here.pid, *(parent.pid for parent in here.parents())}
    return [process for process in psutil.process_iter() if process.pid not in own and _is_of(process, run)]


def end(processes: Iterable[psutil.Process], *, grace_s: float = GRACE_S) -> None:
    """Ask processes to end, kill those that do not; raises WaitTimeout when one survives that too."""
    alive = [process for process in processes if _is_alive(process)]
    for process in alive:
        _signal(process, signal.SIGTERM)
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


def _members(entry: Entry) -> list[psutil.Process]:
    """Return the process of an entry and its group; without the leader, only those marked with the run."""
    match entry.facts:
        case {"pid": int(pid), "create_time": float(born)}:
            leads = _leads(pid, born)
            found = (each for each in psutil.process_iter() if pid in {each.pid, _group(each)})
            return [each for each in found if _is_alive(each) and (leads or _is_of(each, entry.run))]
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


def _remove(path: Path) -> bool:
    found = os.path.lexists(path)
    while os.path.lexists(path):
        # A guardian and `kvsync-ci clean` may remove the same folder at the same time.
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    return found
