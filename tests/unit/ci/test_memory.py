"""How much memory more checks take: a run may have 100,000, and most say nothing but that they passed."""

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import pytest

from kvsync.ci.report.difference import difference
from kvsync.ci.report.junit_reader import read_junit
from kvsync.ci.report.junit_writer import write_junit
from kvsync.ci.report.report import Report
from kvsync.ci.stages.progress import StageProgress
from kvsync.ci.stages.recorded import checks_from
from kvsync.testing.pytest_plugin import LINE_NAMES
from kvsync.testing.results.history import Record
from kvsync.testing.results.outcome import Check, Checks, merge

NOW = datetime(2026, 11, 9, tzinfo=UTC)

FEW, MANY = 1_000, 10_000


def reported(count: int) -> Report:
    """Return a report of a stage with this many checks, the first of which failed."""
    kinds = ("failed" if not each else "passed" for each in range(count))
    checks = (
        Check(name=f"tests/test_many.py::test_number[{each}]", kind=kind, duration_s=each / 1000)  # type: ignore[arg-type]  # one of two
        for each, kind in enumerate(kinds)
    )
    return Report(
        run="a",
        started_at=NOW,
        duration_s=1.0,
        command="kvsync-ci run",
        stages=[merge("unit", checks, started_at=NOW)],
        parameters={},
        versions={},
        machine={},
    )


def told(count: int) -> Iterator[Record]:
    """Yield the lines of as many tests, as the plugin writes them."""
    names = "tests/test_many.py::test_number[{}]".format
    yield {"event": "collected", "count": count, "nodeids": list(map(names, range(min(count, LINE_NAMES))))}
    for at in range(LINE_NAMES, count, LINE_NAMES):
        nodeids = list(map(names, range(at, at + LINE_NAMES)))
        yield {"event": "more", "of": "collected", "nodeids": nodeids}
    for name in map(names, range(count)):
        yield {"event": "started", "nodeid": name}
        yield {"event": "finished", "nodeid": name, "kind": "passed", "duration_s": 0.25}


def junit(count: int, folder: Path) -> object:
    """Read as many cases; they are written before."""
    return read_junit([folder / f"{count}.xml"], name="unit")


def report(count: int, folder: Path) -> object:
    """Read a report with as many checks."""
    return Report.read(folder / f"{count}.json")


def compared(count: int, folder: Path) -> object:
    """Compare two reports with as many checks, the second with one test more at its beginning."""
    one, other = (Report.read(folder / f"{count}.json") for _ in range(2))
    (stage,) = other.stages
    more = Checks(chain([Check(name="tests/test_many.py::test_new", kind="passed")], stage.checks))
    return difference(one, replace(other, stages=[replace(stage, checks=more)]))


def recorded(count: int, _: Path) -> object:
    """Read the lines of as many tests."""
    return checks_from(told(count), running="timeout", why="it ended")


def followed(count: int, _: Path) -> object:
    """Follow the lines of as many tests, as a display does."""
    progress = StageProgress("unit")
    for line in told(count):
        progress.advance(line, 0.0)
    return progress


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what is read."""
    folder = tmp_path_factory.mktemp("files")
    for count in (10, FEW, MANY):
        made = reported(count)
        made.write(folder / f"{count}.json")
        write_junit(made.stages[0], folder / f"{count}.xml", {})
    return folder


@pytest.mark.parametrize(
    ("act", "most"), [(junit, 300), (report, 120), (compared, 300), (recorded, 240), (followed, 120)]
)
def test_one_check_more_takes_little(act: Callable[[int, Path], object], most: int, files: Path) -> None:
    """At the peak, in bytes: values of their own take 200, and what finds them by their names 100 more."""
    peaks = {}
    for count in (10, FEW, MANY):  # the first makes what is made once
        tracemalloc.start()
        try:
            act(count, files)
            _, peaks[count] = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peaks[MANY] - peaks[FEW] < most * (MANY - FEW)
