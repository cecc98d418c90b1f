"""A cluster of its own for each test: a fault must not reach into another one."""

import pytest

from kvsync.testing.cluster_fixtures import own_cluster, provider, scenario
from kvsync.testing.local import LocalCluster

__all__ = ["own_cluster", "provider", "scenario"]


@pytest.fixture
def settings() -> dict[str, object]:
    """Simulated pods answer within milliseconds, so one that is silent for two seconds is asked in vain."""
    return {"upstream": {"connect_s": 1.0, "first_byte_s": 2.0, "answer_s": 2.0}}


@pytest.fixture
def cluster(own_cluster: LocalCluster) -> LocalCluster:
    """The cluster of the test."""
    return own_cluster
