"""Tracefiles of LCOV, as gcov, c8, llvm-cov and `node --test` write them. Pure.

By hand: the readers on PyPI are converters to other formats.
"""

from collections import defaultdict

from kvsync.ci.readers.bounds import Damaged
from kvsync.ci.readers.coverage.coverage import Coverage, FileCoverage
from kvsync.ci.readers.reading import ResultFile, of_coverage


def read_lcov(text: str) -> ResultFile:
    """Return what a tracefile of LCOV says; raises Damaged."""
    records, doubts = _LcovRecords(), []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            records.take(line.strip())
        except (ValueError, IndexError):
            doubts.append(f"line {number} is not one of LCOV: {line[:80]}")
    if not records.files:
        raise Damaged("it holds no record of LCOV")
    if records.path:
        doubts.append(f"the record of {records.path} has no end")
    return of_coverage(Coverage(records.files)).doubted(*doubts[:1], *records.doubts[:1])


class _LcovRecords:
    """The records of a tracefile, line by line."""

    def __init__(self) -> None:
        self.files: dict[str, FileCoverage] = {}
        self.doubts: list[str] = []
        self.path = ""
        self._begin("")

    def take(self, line: str) -> None:
        """Take a line in; raises ValueError or IndexError for one that is damaged."""
        kind, _, rest = line.partition(":")
        parts = rest.split(",")
        match kind:
            case "SF":
                self._begin(rest.replace("\\", "/"))
            case "DA":
                number = int(parts[0])
                self._lines[number] = int(parts[1]) > 0 or self._lines.get(number, False)
            case "BRDA":
                number, key = int(parts[0]), ",".join(parts[1:-1])
                hit = parts[-1] not in ("-", "0")
                self._branches[number][key] = hit or self._branches[number].get(key, False)
            case "LF":
                self._declared = int(parts[0])
            case "end_of_record":
                self._end()

    def _begin(self, path: str) -> None:
        self.path, self._declared = path, 0
        self._lines: dict[int, bool] = {}
        self._branches: dict[int, dict[str, bool]] = defaultdict(dict)

    def _end(self) -> None:
        if self._declared > len(self._lines):
            self.doubts.append(
                f"{self.path}: {self._declared} lines are declared, {len(self._lines)} are there"
            )
        if self.path:
            found = FileCoverage(self._lines, dict(self._branches))
            self.files[self.path] = self.files.get(self.path, FileCoverage()) | found
        self._begin("")
