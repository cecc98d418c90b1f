"""The JSON that `coverage json` writes. Pure."""

from collections import defaultdict

from kvsync.ci.readers.bounds import Foreign, Many, Table, parsed
from kvsync.ci.readers.coverage.coverage import Coverage, FileCoverage
from kvsync.ci.readers.reading import ResultFile, of_coverage


class _File(Foreign):
    executed_lines: Many[int]
    missing_lines: Many[int]
    executed_branches: Many[tuple[int, int]] = ()
    missing_branches: Many[tuple[int, int]] = ()

    def coverage(self) -> FileCoverage:
        """Return the same as a value."""
        branches: dict[int, dict[str, bool]] = defaultdict(dict)
        for hit, pairs in ((False, self.missing_branches), (True, self.executed_branches)):
            for start, to in pairs:
                branches[start][str(to)] = hit
        lines = dict.fromkeys(self.missing_lines, False) | dict.fromkeys(self.executed_lines, True)
        return FileCoverage(lines, branches)


class _Report(Foreign):
    meta: Table[object]
    files: Table[_File]


def read_coverage_py(text: str) -> ResultFile:
    """Return what ran; raises Damaged."""
    files = parsed(_Report, text).files
    return of_coverage(Coverage({path.replace("\\", "/"): each.coverage() for path, each in files.items()}))
