"""A grid of tests by runs, as TestGrid draws it: one character for how a test ended in a run. Pure.

Tests of two repositories are two tests, whatever their names. Of several checks of one name in a run the
worst is shown: none of them hides a failure.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest

from kvsync.ci.archive.flakiness import side
from kvsync.ci.archive.records import PastRun
from kvsync.testing.results.outcome import OUTCOMES, CheckKind

ABSENT = " "
"""The test did not run."""

LETTERS: Mapping[CheckKind, str] = {
    "passed": "P",
    "xfailed": "X",
    "flaky": "~",
    "skipped": "S",
    "measured": "M",
    "quarantined": "Q",
    "not-run": "N",
    "void": "V",
    "inconclusive": "?",
    "infra-error": "I",
    "failed": "F",
    "error": "E",
    "timeout": "T",
}

RANKS = {letter.encode(): (OUTCOMES[kind], kind != "passed") for kind, letter in LETTERS.items()}
"""Which letter is shown of several checks of one name: the highest."""

FAILING = frozenset(
    letter for kind, letter in LETTERS.items() if side(kind) == "failed" and kind != "quarantined"
)

MOST_TESTS = 5000
"""Rows of one grid: it bounds a page to about 1.5 MB, and the first rows are those that failed last."""

LONGEST_NAME = 200
"""Characters of a test's name on the page; the report of each run has all of it."""

RunKinds = Iterable[tuple[str, str, CheckKind]]
"""Of each check of a run its stage, its name and its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRow:
    """A test, and a character for how it ended in each run, in the order of the grid's runs."""

    repository: str
    stage: str
    name: str
    cells: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Runs, the newest first, and their tests, those first that failed last. `left_out` tests have no row."""

    runs: Sequence[PastRun]
    rows: Sequence[GridRow]
    left_out: int = 0

    @classmethod
    def of(cls, checked: Iterable[tuple[PastRun, RunKinds]], *, most: int = MOST_TESTS) -> "Grid":
        """Arrange the checks of runs, the newest run first; each run's checks are looked at once."""
        runs: list[PastRun] = []
        tests: dict[tuple[str, str], dict[str, bytes]] = defaultdict(dict)
        alike: dict[bytes, bytes] = {}  # most of 100,000 tests ended in the same way in each run
        for run, kinds in checked:
            runs.append(run)
            for stage, name, kind in kinds:
                those = tests[run.scope.repository, stage]
                before, cell = those.get(name, b""), LETTERS[kind].encode()
                if len(before) == len(runs):
                    cell = max(before[-1:], cell, key=RANKS.__getitem__)
                cells = before[: len(runs) - 1].ljust(len(runs) - 1, ABSENT.encode()) + cell
                those[name] = alike.setdefault(cells, cells)
        rows = (
            GridRow(repository=repository, stage=stage, name=name, cells=cells.decode().ljust(len(runs)))
            for (repository, stage), those in tests.items()
            for name, cells in those.items()
        )
        shown = nsmallest(
            most, rows, key=lambda row: (last_failure(row.cells), row.repository, row.stage, row.name)
        )
        return cls(runs=tuple(runs), rows=tuple(shown), left_out=sum(map(len, tests.values())) - len(shown))


def last_failure(cells: str) -> int:
    """Return in which run, counted from the newest, a test failed last; their number when it never did."""
    return next((at for at, letter in enumerate(cells) if letter in FAILING), len(cells))


def cut(name: str, longest: int = LONGEST_NAME) -> str:
    """Return a name, without its middle when it is too long."""
    if len(name) <= longest:
        return name
    end = (longest - 1) // 2
    return f"{name[: longest - 1 - end]}…{name[-end:]}"
