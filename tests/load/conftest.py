"""A cluster under load for each test: three pods that are full, a control beside them, and a gateway."""

from pathlib import Path

import pytest

from kvsync.testing.clusters.cluster import Cluster
from kvsync.testing.load.run import SETTINGS, Loader, deploy
from kvsync.testing.scenarios.fixtures import own_cluster, provider, scenario
from kvsync.testing.scenarios.scenario import Scenario

__all__ = ["own_cluster", "provider", "scenario"]


@pytest.fixture
def settings() -> dict[str, object]:
    """The gateway's settings."""
    return dict(SETTINGS)


@pytest.fixture
def cluster(own_cluster: Cluster) -> Cluster:
    """The cluster of the test."""
    return own_cluster


@pytest.fixture
def loader(scenario: Scenario, run_dir: Path) -> Loader:
    """Offers loads to the cluster of the test."""
    control = deploy(scenario.cluster)
    return Loader(scenario, control, run_dir=run_dir)
