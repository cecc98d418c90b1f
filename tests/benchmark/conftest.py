"""What the benchmarks share."""

import gc
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvsync.ci.run_folder import RunFolder
from kvsync.testing.benchmarks.peers.table import VARIABLE
from kvsync.testing.processes.ledger import Ledger


@pytest.fixture(scope="session", autouse=True)
def only_own_garbage() -> Iterator[None]:
    """Keep what pytest holds in memory out of every collection that a measurement triggers."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def rng(seed: int) -> random.Random:
    """The randomness of one test."""
    return random.Random(seed)


@pytest.fixture
def rounds(profile: str) -> int:
    """How often a measurement is repeated."""
    return 3 if profile == "quick" else 12


@pytest.fixture(scope="session")
def peers_folder() -> str | None:
    """The folder of virtual environments with peers, None when none was given."""
    return os.environ.get(VARIABLE)


@pytest.fixture
def ledger(run_dir: Path) -> Ledger:
    """The ledger of the run: processes that a test starts are written down before they exist."""
    return Ledger(RunFolder(run_dir).ledger)
