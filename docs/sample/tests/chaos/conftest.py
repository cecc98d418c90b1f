"""A cluster of its own for each test, and what carries faults out on it."""

import pytest

from kvsync.testing.clusters.cluster import Cluster
from kvsync.testing.faults.holding import Injector
from kvsync.testing.results.history import History
from kvsync.testing.scenarios.fixtures import own_cluster, provider, scenario
from kvsync.testing.scenarios.injectors import make_injector

__all__ = ["own_cluster", "provider", "scenario"]


@pytest.fixture
def settings() -> dict[str, object]:
    """The gateway gives a silent pod up after seconds, not minutes."""
    return {"upstream": {"connect_s": 2.0, "first_byte_s": 4.0, "answer_s": 4.0}}


@pytest.fixture
def cluster(own_cluster: Cluster) -> Cluster:
    """The cluster of the test, without pods."""
    return own_cluster


@pytest.fixture
def injector(cluster: Cluster, history: History) -> Injector:
    """Carries faults out on the cluster of the test."""
    return make_injector(cluster, history)
