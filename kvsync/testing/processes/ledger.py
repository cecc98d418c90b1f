"""What a run created and must not leave behind, written down before it exists.

- An entry is intended (before the thing exists), created (with the facts to find it), released (it is gone).
- Each line is on the disk before the call returns, so that everything is known after a SIGKILL; a line torn
  by the kill is ignored.
- A process is known by its id and start time together, because ids are used again. What escapes that is found
  by the variable `KVSYNC_RUN`, which every child inherits.
"""

import json
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from kvsync.testing.results.history import Record, read_lines

RUN_VARIABLE = "KVSYNC_RUN"
"""The environment variable that marks every process of a run with the run's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
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

    def intend(self, kind: str, name: str, **facts: object) -> LedgerEntry:
        """Write down what is about to be created."""
        entry = LedgerEntry(id=secrets.token_hex(4), kind=kind, name=name, run=self.run, facts=facts)
        self._append("intend", entry, kind=kind, name=name, run=self.run, facts=facts)
        return entry

    def created(self, entry: LedgerEntry, **facts: object) -> LedgerEntry:
        """Write down that it exists, and how to find it; returns the entry with these facts."""
        self._append("created", entry, facts=facts)
        return replace(entry, facts={**entry.facts, **facts})

    def released(self, entry: LedgerEntry) -> None:
        """Write down that it is gone."""
        self._append("released", entry)

    def _append(self, event: str, entry: LedgerEntry, **fields: object) -> None:
        record = {"event": event, "id": entry.id, "wall": time.time(), **fields}
        self._write(json.dumps(record, default=str).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        with self.path.open("ab", buffering=0) as file:
            file.write(line)
            os.fsync(file.fileno())


def leftovers(paths: Iterable[Path]) -> list[LedgerEntry]:
    """Return what these ledgers do not know to be gone, the newest first."""
    return unreleased(record for path in paths for record in read_lines(path))


def unreleased(records: Iterable[Record]) -> list[LedgerEntry]:
    """Return the entries without a release among the lines of a ledger, the newest first."""
    entries: dict[object, LedgerEntry] = {}
    for record in records:
        match record:
            case {"event": "intend", "id": str(id_), "kind": str(kind), "name": str(name), "run": str(run)}:
                entries[id_] = LedgerEntry(id=id_, kind=kind, name=name, run=run, facts=_facts(record))
            case {"event": "created", "id": id_} if id_ in entries:
                known = entries[id_]
                entries[id_] = replace(known, facts={**known.facts, **_facts(record)})
            case {"event": "released", "id": id_}:
                entries.pop(id_, None)
    return list(reversed(entries.values()))


def _facts(record: Record) -> Mapping[str, object]:
    return cast("Mapping[str, object]", record.get("facts", {}))
