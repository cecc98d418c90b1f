"""What the tests of a whole cluster share, as pytest fixtures; a conftest imports those it wants."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvsync.testing.history import History
from kvsync.testing.ledger import Ledger
from kvsync.testing.local import GATEWAY, LocalCluster, LocalProvider
from kvsync.testing.pytest_plugin import keeps
from kvsync.testing.scenario import Scenario


@pytest.fixture(scope="session")
def provider(run_dir: Path, seed: int, pytestconfig: pytest.Config) -> LocalProvider:
    """Makes clusters of this run; with --keep they can outlive it."""
    ledger = Ledger(run_dir / "ledger.jsonl")
    outlive = bool(pytestconfig.getoption("--keep"))
    return LocalProvider(run_dir=run_dir, ledger=ledger, seed=seed, outlive=outlive)


@pytest.fixture
def own_cluster(
    provider: LocalProvider, settings: dict[str, object], request: pytest.FixtureRequest
) -> Iterator[LocalCluster]:
    """A cluster without pods for one test, and named after it; `settings` are those of its gateway."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    cluster = provider.create(name, **settings)
    yield cluster
    print(cluster.logs(GATEWAY))
    if keeps(request.config):
        print(cluster.describe())
    else:
        provider.delete(name)


@pytest.fixture
def scenario(cluster: LocalCluster, history: History, seed: int) -> Scenario:
    """The cluster, ready to be asked and verified."""
    return Scenario(cluster, history, seed=seed)
