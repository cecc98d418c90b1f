"""Files in which a program says how its tests ended: found, known to be new, kept, and read.

Whoever wrote them may have written anything: no link is followed, and what cannot be read is a doubt.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import Literal

from kvsync.ci.readers.audits.finding import is_audit
from kvsync.errors import ConfigError
from kvsync.testing.results.measurement import (
    Measurement,
    machine_facts,
    read_measurements,
    write_measurements,
)
from kvsync.testing.results.outcome import StageResult

Wanted = Literal["", "measurements", "findings"]
"""What files have to hold so that they say something; "" for tests."""

MOST_FILES = 5_000

Stamp = tuple[int, int, int]
"""By what a file that was written again is known: its number, its size and the time of its last change."""


@dataclass(frozen=True, slots=True)
class ResultFiles:
    """The files that match `patterns` below the repository or, for `{out}/...`, in the new folder `out`.

    `{output}` is what the program printed, which is in `log`.
    """

    repository: Path
    out: Path
    log: Path
    patterns: Sequence[str]

    def stamps(self) -> dict[Path, Stamp]:
        """Return every file there is, as it is now."""
        return {path: _stamp(path) for path in self._find()}

    def new(self, before: Mapping[Path, Stamp]) -> tuple[list[Path], str]:
        """Return the files that were written since, and what is wrong with them: "" if nothing is."""
        now = self.stamps()
        fresh = [path for path, stamp in now.items() if before.get(path) != stamp]
        names = ", ".join(self.patterns)
        if len(now) >= MOST_FILES:
            return [], f"{names} are {MOST_FILES} files or more, and no more are read"
        if not now:
            return [], f"no result file {names} was written"
        if not fresh:
            return [], f"the result files {names} are older than the stage"
        return fresh, ""

    def keep(self, files: Sequence[Path]) -> list[Path]:
        """Copy files to where they outlive the repository of a commit; returns the copies."""
        return [
            path if path == self.log or path.is_relative_to(self.out) else self._copy(path) for path in files
        ]

    def _copy(self, path: Path) -> Path:
        taken = {each.name for each in self.out.iterdir()}
        names = chain([path.name], (f"{number}-{path.name}" for number in count(2)))
        target = self.out / next(name for name in names if name not in taken)
        shutil.copyfile(path, target)
        return target

    def _find(self) -> Iterator[Path]:
        for pattern in self.patterns:
            if pattern == "{output}":
                yield from ([self.log] if self.log.is_file() else ())
                continue
            inner = pattern.removeprefix("{out}/")
            root = self.repository if inner == pattern else self.out
            for path in sorted(islice(root.glob(inner), MOST_FILES)):
                if not path.is_symlink() and path.is_file() and path.resolve().is_relative_to(root.resolve()):
                    yield path


def read_results(
    files: Sequence[Path], *, name: str, format_name: str, run_dir: Path, wanted: Wanted = ""
) -> StageResult:
    """Return what the files say, as the result of a stage of this name; the run keeps what they measured.

    `format_name` is "" for what is told by what is in each file; one in no format is a doubt.
    """
    # Imported where there are files: all readers take a tenth of a second of CPU time.
    from kvsync.ci.readers.files import read_files

    try:
        found = read_files(files, name=name, format_name=format_name)
    except ConfigError as exc:
        return StageResult.unknown(name, "; ".join(exc.problems))
    if found.measurements:
        keep_measurements(run_dir, found.measurements)
    formats = ", ".join(filter(None, found.formats)) or "an empty file"
    if wanted == "measurements" and not found.measurements:
        return found.result.doubted(f"nothing was measured: {formats} holds no measurement")
    if wanted == "findings" and not is_audit(found.result):
        return found.result.doubted(f"nothing was audited: {formats} holds no audit")
    return found.result


def keep_measurements(run_dir: Path, found: Sequence[Measurement]) -> None:
    """Add measurements to those of a run."""
    kept = run_dir / "benchmark.json"
    write_measurements(kept, [*read_measurements(kept), *found], machine_facts())


def document_in(log: Path, target: Path) -> Path:
    """Copy the JSON in what a program printed, which may have said more before and after; returns the copy.

    Where there is none, that is the log itself.
    """
    lines = log.read_bytes().splitlines(keepends=True)
    first = next((number for number, line in enumerate(lines) if line.startswith((b"{", b"["))), None)
    ends = [number for number, line in enumerate(lines, start=1) if line.rstrip().endswith((b"}", b"]"))]
    if first is None or not ends or ends[-1] <= first:
        return log
    target.write_bytes(b"".join(lines[first : ends[-1]]))
    return target


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
