"""A cluster for each test, with everything it starts in the run's ledger."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvsync.testing.endpoints import GatewayView
from kvsync.testing.history import History
from kvsync.testing.ledger import Ledger
from kvsync.testing.local import GATEWAY, LocalCluster, LocalProvider
from kvsync.testing.scenario import Scenario


@pytest.fixture(scope="session")
def provider(run_dir: Path, seed: int) -> LocalProvider:
    """Makes clusters of this run."""
    return LocalProvider(run_dir=run_dir, ledger=Ledger(run_dir / "ledger.jsonl"), seed=seed)


@pytest.fixture(scope="session")
def shared(provider: LocalProvider) -> Iterator[LocalCluster]:
    """The cluster of every test that does not want other settings, one test after the other."""
    yield provider.create("shared")
    provider.delete("shared")


@pytest.fixture
def settings() -> dict[str, object]:
    """The gateway's settings; a test that wants others parametrizes them and gets a cluster of its own."""
    return {}


@pytest.fixture
def cluster(
    provider: LocalProvider, settings: dict[str, object], request: pytest.FixtureRequest
) -> Iterator[LocalCluster]:
    """A cluster without pods; when the test is over, the index must forget what it held."""
    if not settings:
        cluster: LocalCluster = request.getfixturevalue("shared")
        yield cluster
        _clean(cluster)
        return
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    yield provider.create(name, **settings)
    provider.delete(name)


def _clean(cluster: LocalCluster) -> None:
    print(cluster.logs(GATEWAY))
    cluster.clear()
    kept = GatewayView(cluster.gateway_url).indexed()
    if kept:
        cluster.restart_gateway()
    assert kept == 0, f"all pods are gone, and the index still holds {kept} blocks"


@pytest.fixture
def scenario(cluster: LocalCluster, history: History, seed: int) -> Scenario:
    """The cluster, ready to be asked and verified."""
    return Scenario(cluster, history, seed=seed)
