"""One cluster for most tests, one after the other: what a gateway ought to forget, it must forget."""

from collections.abc import Iterator

import pytest

from kvsync.testing.cluster_fixtures import own_cluster, provider, scenario
from kvsync.testing.endpoints import GatewayView
from kvsync.testing.local import GATEWAY, LocalCluster, LocalProvider
from kvsync.testing.pytest_plugin import keeps

__all__ = ["own_cluster", "provider", "scenario"]


@pytest.fixture(scope="session")
def shared(provider: LocalProvider, pytestconfig: pytest.Config) -> Iterator[LocalCluster]:
    """The cluster of every test that does not want other settings, one test after the other."""
    yield provider.create("shared")
    if not keeps(pytestconfig):
        provider.delete("shared")


@pytest.fixture
def settings() -> dict[str, object]:
    """The gateway's settings; a test that wants others parametrizes them and gets a cluster of its own."""
    return {}


@pytest.fixture
def cluster(settings: dict[str, object], request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    """A cluster without pods; when the test is over, the index must forget what it held."""
    if settings:
        yield request.getfixturevalue("own_cluster")
        return
    cluster: LocalCluster = request.getfixturevalue("shared")
    yield cluster
    print(cluster.logs(GATEWAY))
    if keeps(request.config):
        print(cluster.describe())
    else:
        _clear(cluster)


def _clear(cluster: LocalCluster) -> None:
    cluster.clear()
    kept = GatewayView(cluster.gateway_url).indexed()
    if kept:
        cluster.restart_gateway()
    assert kept == 0, f"all pods are gone, and the index still holds {kept} blocks"
