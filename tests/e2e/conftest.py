"""A cluster for each test, with everything it starts in the run's ledger."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvsync.testing.history import History
from kvsync.testing.ledger import Ledger
from kvsync.testing.local import GATEWAY, LocalCluster, LocalProvider
from kvsync.testing.scenario import Scenario


@pytest.fixture(scope="session")
def provider(run_dir: Path, seed: int) -> LocalProvider:
    """Makes clusters of this run."""
    return LocalProvider(run_dir=run_dir, ledger=Ledger(run_dir / "ledger.jsonl"), seed=seed)


@pytest.fixture
def settings() -> dict[str, object]:
    """The gateway's settings; a test that wants others parametrizes them."""
    return {}


@pytest.fixture
def cluster(
    provider: LocalProvider, settings: dict[str, object], request: pytest.FixtureRequest
) -> Iterator[LocalCluster]:
    """A cluster without pods, named after the test."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    cluster = provider.create(name, **settings)
    yield cluster
    print(cluster.logs(GATEWAY))
    provider.delete(name)


@pytest.fixture
def scenario(cluster: LocalCluster, history: History, seed: int) -> Scenario:
    """The cluster, ready to be asked and verified."""
    return Scenario(cluster, history, seed=seed)
