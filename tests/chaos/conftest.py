"""A cluster of its own for each test: a fault must not reach into another one."""

from pathlib import Path
from typing import cast

import pytest

from kvsync.testing.clusters.cluster import Cluster
from kvsync.testing.faults.fault import Fault
from kvsync.testing.faults.holding import Injector
from kvsync.testing.results.history import History
from kvsync.testing.scenarios.fixtures import own_cluster, provider, scenario
from kvsync.testing.scenarios.injectors import injector_class, make_injector

__all__ = ["own_cluster", "provider", "scenario"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out a fault that no cluster of this kind can have, before a cluster is made for its test."""
    assert isinstance(item, pytest.Function)
    machine: Path | None = item.config.getoption("--machine")
    if reason := injector_class(machine).impossible(cast("Fault", item.callspec.params["fault"])):
        pytest.skip(reason)


@pytest.fixture
def settings() -> dict[str, object]:
    """Simulated pods answer within milliseconds, on a busy machine within two seconds (measured)."""
    return {"upstream": {"connect_s": 2.0, "first_byte_s": 4.0, "answer_s": 4.0}}


@pytest.fixture
def cluster(own_cluster: Cluster) -> Cluster:
    """The cluster of the test."""
    return own_cluster


@pytest.fixture
def injector(cluster: Cluster, history: History) -> Injector:
    """Carries faults out on the cluster of the test."""
    return make_injector(cluster, history)
