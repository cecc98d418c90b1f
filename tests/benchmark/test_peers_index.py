"""Our index with the compiled core beside our Python's and beside a peer's index, in turns."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from kvsync import core
from kvsync.testing.benchmarks.gauge import Gauge
from kvsync.testing.benchmarks.peers.index import IndexRow
from kvsync.testing.benchmarks.peers.table import find
from kvsync.testing.benchmarks.peers.turns import Figures, in_turns
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.measurement import Measurements
from kvsync.testing.results.verdicts import NotRun

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

TURNS = 5
LONG_TURNS = 3
MILLION = 1_000_000
LONG = 512
"""Blocks of 8,192 tokens."""

Row = Callable[..., IndexRow]


@pytest.fixture
def row(seed: int, tmp_path: Path, ledger: Ledger) -> Row:
    """Makes a row of this run."""
    return partial(IndexRow, seed=seed, log=tmp_path / "player.log", ledger=ledger)


@pytest.fixture(params=["python core", "dynamo"])
def opponent(
    request: pytest.FixtureRequest, peers_folder: str | None
) -> tuple[str, Callable[[IndexRow], Figures]]:
    """Whom we are measured against: what it is called, and how it plays a row."""
    if core.built is None:
        raise NotRun("there is no compiled core; install kvsync where a C compiler is")
    if request.param == "python core":
        return request.param, lambda row: row.ours("python")
    peer = find(peers_folder, request.param)
    return str(peer), lambda row: row.theirs(peer)


@pytest.fixture
def play(
    opponent: tuple[str, Callable[[IndexRow], Figures]], measurements: Measurements
) -> Callable[[IndexRow, int], None]:
    """Lets both sides play a row, and records it."""
    name, theirs = opponent

    def both(row: IndexRow, turns: int) -> None:
        contest = in_turns(lambda: row.ours("native"), lambda: theirs(row), turns)
        contest.record(Gauge(measurements, f"peers: {row.row}", {**row.conditions, "peer": name}))

    return both


Play = Callable[[IndexRow, int], None]


def test_events_in_an_empty_index(row: Row, play: Play) -> None:
    """Both sides find the blocks of events afterwards, and not once they are removed."""
    play(row(row="hot", conditions={}), TURNS)


def test_a_million_blocks(row: Row, play: Play) -> None:
    """Both sides hold a million blocks, and evict as many from anywhere as they store."""
    play(row(row="resident", conditions={"blocks": MILLION}), LONG_TURNS)


def test_a_million_blocks_of_ten_pods(row: Row, play: Play) -> None:
    """Both sides hold blocks that ten pods share."""
    play(row(row="memory", conditions={"blocks": MILLION, "pods": 10}), LONG_TURNS)


@pytest.mark.parametrize("shape", ["whole", "ragged", "holes"])
def test_match(shape: str, row: Row, play: Play) -> None:
    """Of 8,192 tokens ten pods hold all, or different parts, or all but a block: both sides say what."""
    conditions = {"blocks": LONG, "pods": 10, "resident": 100_000, "shape": shape}

    play(row(row="match", conditions=conditions), TURNS)
