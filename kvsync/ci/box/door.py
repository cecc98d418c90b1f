"""The one way out of a box: what lies in its outbox is taken over into the folder of the run, or refused.

Its author may have written anything, so nothing in there is trusted to be what it seems: a file is
opened without following a link anywhere, must be an ordinary one of bounded size, with a harmless name, in a
place where stages write, and its bytes are copied. Histories and measurements are read line by line; what is
nonsense there is refused, too. What the run's folder has is added to at most, never replaced.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from kvsync.ci.box.records import (
    LINE_BYTES,
    NAME,
    PACKED,
    Refused,
    of_comparison,
    of_history,
    of_ledger,
    of_measurements,
    of_tests,
)
from kvsync.ci.ordinary_file import open_ordinary
from kvsync.testing.results.journal import journal
from kvsync.testing.results.measurement import Measurements
from kvsync.testing.results.whole import is_partial, write_whole

FILES = 5_000
DEPTH = 6
FILE_BYTES = 512 * 1024**2
TOTAL_BYTES = 2 * 1024**3

STAYS = frozenset({"clusters", "hypothesis", "temporary", "tmp", "workspace"})
"""What stages work with and is not read afterwards; what is worth keeping is evidence."""

OURS = frozenset({"cluster.log", "guardian.log", "pipeline.log", "workspace.log"})
"""Logs that no stage writes."""

SHOWN = 3
"""How many refusals a reason names."""


@dataclass(slots=True)
class Door:
    """What may leave the `outbox` of a box for the folder of a run; `refusals` say what may not, and why.

    `inputs` were put into the outbox by us.
    """

    outbox: Path
    run_dir: Path
    stage: str
    inputs: tuple[Path, ...] = ()
    refusals: dict[Path, str] = field(default_factory=dict)
    _files: int = 0
    _bytes: int = 0
    _read: int = 0

    @property
    def doubt(self) -> str:
        """Why the result cannot be believed; empty when all was taken."""
        said = [f"{path}: {why}" for path, why in self.refusals.items()]
        more = [f"{len(said) - SHOWN} more"] if len(said) > SHOWN else []
        return f"refused from the box: {'; '.join(said[:SHOWN] + more)}" if said else ""

    def follow(self) -> None:
        """Take over the lines about tests that are new and whole, for those who follow the run."""
        relative = journal(self.run_dir, self.stage).relative_to(self.run_dir)
        try:
            while relative not in self.refusals:
                with open_ordinary(self.outbox, relative) as file:
                    file.seek(self._read)
                    whole, newline, rest = file.read(LINE_BYTES).rpartition(b"\n")
                if self._read > FILE_BYTES or len(rest) == LINE_BYTES:
                    raise Refused("it is too large")
                if not newline:
                    break
                self._read += len(whole) + 1
                self._append(relative, (whole + newline).splitlines(keepends=True), of_tests)
        except FileNotFoundError:
            pass  # no test has started yet, or none ever will
        except (OSError, Refused) as exc:
            self.refusals[relative] = _said(exc)

    def take(self) -> None:
        """Take over everything, once nothing is alive in the box any more."""
        self.follow()
        for relative in self._walk(self.outbox, Path()):
            try:
                self._take(relative)
            except (OSError, Refused) as exc:
                self.refusals[relative] = _said(exc)

    def _take(self, relative: Path) -> None:
        with open_ordinary(self.outbox, relative) as file:
            size = os.fstat(file.fileno()).st_size
            self._files, self._bytes = self._files + 1, self._bytes + size
            if self._files > FILES or size > FILE_BYTES or self._bytes > TOTAL_BYTES:
                raise Refused("it is too large, or one too many")
            match relative.parts:
                case ("benchmark.json",):
                    kept = Measurements(self.run_dir / relative)
                    for measurement in of_measurements(file.read()):
                        kept.add(measurement)
                case ("history", *_, name) if name.endswith("-tests.jsonl"):
                    if relative != journal(self.run_dir, self.stage).relative_to(self.run_dir):
                        raise Refused("it is about another stage")
                case ("history", *_, name) if name.endswith(".jsonl"):
                    self._append(relative, iter(lambda: file.readline(LINE_BYTES), b""), of_history)
                case ("history", "comparisons", name) if name.endswith(PACKED):
                    # One that is there already has the same name, and so the same content.
                    write_whole(self._target(relative), of_comparison(name, file.read()))
                case ("ledger.jsonl",):
                    # Not into our ledger: its processes ended with the box, and others have their numbers.
                    whole = iter(lambda: file.readline(LINE_BYTES), b"")
                    self._append(Path("programs.jsonl"), whole, of_ledger)
                case ("logs", first, *_) if first not in OURS:
                    self._copy(relative, "ab", file)
                case ("evidence", _, _, *_):
                    self._copy(relative, "xb", file)
                case _:
                    raise Refused("no stage writes there")

    def _append(self, relative: Path, lines: Iterable[bytes], checked: Callable[[bytes], bytes]) -> None:
        """Append lines up to the first that is refused; one without an end was torn by a kill."""
        with self._target(relative).open("ab") as kept:
            for line in lines:
                if line.endswith(b"\n"):
                    kept.write(checked(line))
                elif len(line) >= LINE_BYTES:
                    raise Refused("a line is too long")

    def _copy(self, relative: Path, mode: str, file: BinaryIO) -> None:
        with self._target(relative).open(mode) as kept:
            shutil.copyfileobj(file, kept)

    def _target(self, relative: Path) -> Path:
        target = self.run_dir / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _walk(self, folder: Path, above: Path) -> Iterator[Path]:
        """Yield what is no folder; refuse what is oddly named, too deep or one too many."""
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in islice(entries, FILES))
        for name in names:
            relative, path = above / name, folder / name
            if relative.parts[0] in STAYS or self.run_dir / relative in self.inputs or is_partial(path):
                continue
            if not NAME.fullmatch(name) or len(relative.parts) > DEPTH or len(names) == FILES:
                self.refusals[above] = "a name in there is odd, too deep or one too many"
            elif stat.S_ISDIR(path.lstat().st_mode):
                path.chmod(0o700)  # its maker may have made it unreadable
                yield from self._walk(path, relative)
            else:
                yield relative


def _said(error: OSError | Refused) -> str:
    match error:
        case OSError(errno=errno.ELOOP | errno.ENOTDIR):
            return "it is a link, or lies behind one"
        case OSError(strerror=str(said)):
            return said
    return str(error)
