"""Which lines a commit added or changed, from `git diff --no-color --no-ext-diff -U0 BASE...`. Pure.

By hand: unidiff (PyPI) builds every line of a diff as an object; here only the heads of hunks are read.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from kvsync.ci.readers.coverage.coverage import BranchHits, Coverage, FileCoverage

_HUNK = re.compile(r"@@ -\d{1,9}(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}

MOST_LINES = 5_000_000

Changes = Mapping[str, frozenset[int]]
"""The lines that are new in each file, by its path after the change."""


def changed_lines(diff: str) -> Changes:
    """Return the lines that a unified diff without context adds; files that are gone have none."""
    found: dict[str, set[int]] = defaultdict(set)
    for path, first, count in _hunks(diff):
        if count <= MOST_LINES:
            found[path].update(range(first, first + count))
    return {path: frozenset(lines) for path, lines in found.items() if lines}


def of_changes(coverage: Coverage, changes: Changes) -> Coverage:
    """Return the part of a profile that is about changed lines."""
    return Coverage(
        {path: _part(each, changes[path]) for path, each in coverage.files.items() if path in changes}
    )


def _part(file: FileCoverage, lines: frozenset[int]) -> FileCoverage:
    branches: BranchHits = {line: keys for line, keys in file.branches.items() if line in lines}
    return FileCoverage({line: hit for line, hit in file.lines.items() if line in lines}, branches)


def _hunks(diff: str) -> Iterator[tuple[str, int, int]]:
    """Yield path, first line and number of lines. Lines of a hunk, which may look like heads, are passed."""
    path, within = "", 0
    for line in diff.split("\n"):
        if within > 0 and line[:1] in ("+", "-", " "):
            within -= 1
        elif line.startswith("+++ "):
            path, within = _path(line.removeprefix("+++ ")), 0
        elif path and (found := _HUNK.match(line)):
            count = int(found[3] or 1)
            within = count + int(found[1] or 1)
            yield path, int(found[2]), count


def _path(name: str) -> str:
    """Return a path without git's `b/` and quotes; "" for no file."""
    name = name.removesuffix("\t")
    if name.startswith('"') and name.endswith('"'):
        name = _ESCAPE.sub(_byte, name[1:-1].encode()).decode(errors="replace")
    return "" if name == "/dev/null" else name.removeprefix("b/")


def _byte(found: re.Match[bytes]) -> bytes:
    said = found[1]
    return bytes([int(said, 8) & 0xFF]) if len(said) == 3 else _LETTERS.get(said, said)
