"""A cluster of its own for each test."""

import pytest

from kvsync.testing.clusters.cluster import Cluster
from kvsync.testing.scenarios.fixtures import own_cluster, provider, scenario

__all__ = ["own_cluster", "provider", "scenario"]


@pytest.fixture
def settings() -> dict[str, object]:
    """The gateway's settings, without its pods."""
    return {"routing": {"imbalance_after": 4}}


@pytest.fixture
def cluster(own_cluster: Cluster) -> Cluster:
    """The cluster of the test, without pods."""
    return own_cluster
