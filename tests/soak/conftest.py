"""One soak for all of its tests: it is offered once, and each of them looks at another side of it."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest

from kvsync.testing.clusters.cluster import Cluster, ClusterProvider
from kvsync.testing.load.plan import PLANS, LoadPlan
from kvsync.testing.load.run import MODEL, PODS, SETTINGS, Loader, Offered, deploy
from kvsync.testing.load.vitals import Vitals
from kvsync.testing.pytest_plugin import keeps
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import NotRun
from kvsync.testing.scenarios.fixtures import keep_evidence, provider
from kvsync.testing.scenarios.scenario import Scenario

__all__ = ["provider"]

NAME = "soak"
TEST = "tests/soak/test_soak.py"
"""What the records of the one load are filed under."""


class Turnover:
    """Pods that come and go: each call does the next thing to one of them, the oldest first."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._turns = cycle([self._replace, self._grow, self._restart, self._shrink, self._move])
        self.changes = 0

    def __call__(self) -> None:
        """Do the next thing."""
        next(self._turns)()
        self.changes += 1

    def end(self) -> None:
        """Have as many pods as in the beginning."""
        self._cluster.scale(MODEL, PODS)

    def _oldest(self) -> str:
        return next(pod.name for pod in self._cluster.pods() if pod.model == MODEL)

    def _replace(self) -> None:
        self._cluster.delete_pod(self._oldest())

    def _restart(self) -> None:
        self._cluster.restart_pod(self._oldest())

    def _move(self) -> None:
        self._cluster.move_pod(self._oldest())

    def _grow(self) -> None:
        self._cluster.scale(MODEL, PODS + 1)

    def _shrink(self) -> None:
        self._cluster.scale(MODEL, PODS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """A cluster after hours of load, and what was seen of it; `before` is None where nothing tells it."""

    scenario: Scenario
    plan: LoadPlan
    offered: Offered
    before: Vitals | None
    changes: int


@pytest.fixture(scope="session")
def soak(
    provider: ClusterProvider,
    stage_history: History,
    seed: int,
    profile: str,
    run_dir: Path,
    pytestconfig: pytest.Config,
) -> Iterator[Soak]:
    """A moderate load for a long time, while pods come and go and full caches evict for all that is new."""
    cluster, plan = provider.create(NAME, **SETTINGS), PLANS["soak"][profile]
    scenario = Scenario(cluster, stage_history.bind(test=TEST), seed=seed)
    control, turnover, before = deploy(cluster), Turnover(cluster), None
    with suppress(NotRun):
        before = Vitals.of(cluster, 0.0)
    offered = Loader(scenario, control, run_dir=run_dir).offer(plan, change=turnover)
    turnover.end()
    yield Soak(scenario=scenario, plan=plan, offered=offered, before=before, changes=turnover.changes)
    if not keeps(pytestconfig):
        provider.delete(NAME)


@pytest.fixture(autouse=True)
def evidence(soak: Soak, request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that did not pass, keep what the cluster looks like."""
    yield
    keep_evidence(soak.scenario.cluster, request)
