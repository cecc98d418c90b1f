"""What happened, as append-only JSON lines: one file per process, merged by monotonic clock.

Every record holds `i` (its number in the file), `t_mono` and `wall` (seconds), `proc`, `f` (what was done)
and `type` (invoke, ok, fail or info; start or stop for faults), besides the fields of its kind. A record is
on its way to the disk when `append` returns, so a killed process loses at most its last line.
"""

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from copy import copy
from pathlib import Path

Record = dict[str, object]
"""One line of a history: the shape is open, because every kind of record has its own fields."""


class History:
    """Appends records to one file, each with `fields`; safe to share between threads."""

    def __init__(
        self,
        path: Path,
        proc: str,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.path, self.proc = path, proc
        self._clock, self._wall = clock, wall
        self._numbers, self._lock = itertools.count(), threading.Lock()
        self.fields: Record = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        end_torn_line(path)

    def bind(self, **fields: object) -> "History":
        """Return a view of the same file that adds `fields` to each of its records."""
        view = copy(self)  # with the same lock and the same count
        view.fields = self.fields | fields
        return view

    def append(self, *, f: str, type: str = "info", **fields: object) -> None:  # noqa: A002 - the record's name for it
        """Write one record; what JSON does not know is written as its text."""
        with self._lock:
            record = {
                "i": next(self._numbers),
                "t_mono": self._clock(),
                "wall": self._wall(),
                "proc": self.proc,
                "f": f,
                "type": type,
            }
            append_line(self.path, record | self.fields | fields)


def end_torn_line(path: Path) -> None:
    """End the line that a killed process left unfinished, or else the next one would be lost with it."""
    if path.exists() and path.stat().st_size:
        with path.open("rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.write(b"\n")


def append_line(path: Path, record: Record) -> None:
    """Append one JSON line to `path`, in one piece: several processes may do so at a time."""
    with path.open("ab", buffering=0) as file:
        file.write(f"{json.dumps(record, default=str)}\n".encode())


def parse_lines(lines: Iterable[str]) -> Iterator[Record]:
    """Yield the JSON objects among `lines`; a line torn by a kill is not one and is left out."""
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def read_lines(path: Path) -> Iterator[Record]:
    """Yield the records of one file of JSON lines; a file that does not exist has none."""
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from parse_lines(file)


def read(paths: Iterable[Path], only: Collection[str] | None = None) -> list[Record]:
    """Return the records of several histories in the order in which they happened.

    `only` keeps the records with these `f`, so that reading a long run needs little memory.
    """
    records = [
        record
        for path in paths
        for record in read_lines(path)
        if "t_mono" in record and (only is None or record.get("f") in only)
    ]
    return sorted(records, key=lambda record: float(str(record["t_mono"])))
