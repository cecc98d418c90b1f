"""What the benchmarks share."""

import gc
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvsync.ci.run_folder import RunFolder
from kvsync.testing.benchmarks.arrivals import Reception
from kvsync.testing.benchmarks.peers.table import VARIABLE
from kvsync.testing.load.http.histogram import LatencyHistogram, log_of
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.pytest_plugin import link_evidence


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
def keep_histogram(run_dir: Path, request: pytest.FixtureRequest) -> Callable[[Reception], None]:
    """Keeps all latencies of a reception in a file for HdrHistogram's tools, with the run's evidence."""

    def keep(reception: Reception) -> None:
        histogram, name = LatencyHistogram(), request.node.name
        for latency_s in reception.latencies:
            histogram.add(latency_s)
        folder = run_dir / "evidence" / f"latencies-{re.sub(r'[^a-zA-Z0-9]+', '-', name).strip('-')}"
        folder.mkdir(parents=True, exist_ok=True)
        log = log_of({name: (0.0, reception.duration_s, histogram)})
        (folder / "latencies.hlog").write_text(log, "utf-8")
        link_evidence(request.node, folder)

    return keep


@pytest.fixture
def ledger(run_dir: Path) -> Ledger:
    """The ledger of the run: processes that a test starts are written down before they exist."""
    return Ledger(RunFolder(run_dir).ledger)
