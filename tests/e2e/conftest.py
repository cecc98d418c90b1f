"""One cluster for most tests, one after the other: what a gateway ought to forget, it must forget."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from kvsync.testing import (
    Cluster,
    ClusterError,
    ClusterProvider,
    GatewayView,
    own_cluster,
    provider,
    scenario,
)
from kvsync.testing.pytest_plugin import keeps
from kvsync.testing.scenarios.fixtures import keep_evidence, write_down

__all__ = ["own_cluster", "provider", "scenario"]


class Shared:
    """A cluster that is handed from test to test, and replaced after a defect in it."""

    def __init__(self, provider: ClusterProvider, name: str) -> None:
        self._provider, self._name, self._made = provider, name, 0
        self._idle: Cluster | None = None

    def take(self) -> Cluster:
        """Return a cluster without pods whose index is empty."""
        cluster, self._idle = self._idle, None
        if cluster is None:
            self._made += 1
            cluster = self._provider.create(f"{self._name}-{self._made}")
        return cluster

    def give_back(self, cluster: Cluster, request: pytest.FixtureRequest) -> None:
        """Delete all pods; fails, for this test alone, when the gateway died or did not forget them."""
        try:
            cluster.clear()
            kept = GatewayView(cluster.gateways()[0]).indexed()
            assert kept == 0, f"all pods are gone, and the index still holds {kept} blocks"
        except BaseException:
            write_down(cluster, request)
            with suppress(ClusterError):  # what failed first says more; the provider waits for the rest
                self._provider.delete(cluster.name)
            raise
        self._idle = cluster

    def close(self) -> None:
        """Delete the cluster."""
        if self._idle is not None:
            self._provider.delete(self._idle.name)


@pytest.fixture(scope="session")
def shared(provider: ClusterProvider, worker_id: str) -> Iterator[Shared]:
    """The cluster of every test that does not want other settings, one test after the other.

    Where several processes share a stage, each has one, whose name is its own.
    """
    shared = Shared(provider, "shared" if worker_id == "master" else f"shared-{worker_id}")
    yield shared
    shared.close()


@pytest.fixture
def settings() -> dict[str, object]:
    """The gateway's settings; a test that wants others parametrizes them and gets a cluster of its own."""
    return {}


@pytest.fixture
def cluster(shared: Shared, settings: dict[str, object], request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster without pods; when the test is over, the index must forget what it held."""
    if settings:
        yield request.getfixturevalue("own_cluster")
        return
    cluster = shared.take()
    yield cluster
    keep_evidence(cluster, request)
    if keeps(request.config):
        print(cluster.describe())
    else:
        shared.give_back(cluster, request)
