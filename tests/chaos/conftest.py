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


GATEWAY_SETTINGS = {"upstream": {"connect_s": 1.0, "first_byte_s": 2.0, "answer_s": 2.0}}
"""Simulated pods answer within milliseconds, so one that is silent for two seconds is asked in vain."""


@pytest.fixture
def cluster(provider: LocalProvider, request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    """A cluster without pods, named after the test."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    cluster = provider.create(name, **GATEWAY_SETTINGS)
    yield cluster
    print(cluster.logs(GATEWAY))
    provider.delete(name)


@pytest.fixture
def scenario(cluster: LocalCluster, history: History, seed: int) -> Scenario:
    """The cluster, ready to be asked and verified."""
    return Scenario(cluster, history, seed=seed)
