"""What the tests of a whole cluster share, as pytest fixtures; a conftest imports those it wants."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvsync.testing.clusters.cluster import Cluster, ClusterProvider
from kvsync.testing.clusters.evidence import INTERRUPTED_S, WITHIN_S, collect, new_folder
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.local.cluster import LocalProvider
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.pytest_plugin import interrupted, keeps, link_evidence, went_wrong
from kvsync.testing.results.history import History
from kvsync.testing.scenarios.scenario import Scenario

_PLAIN = str.maketrans(dict.fromkeys("[]/ :", "-"))
"""For names of folders, which become parts of links."""


@pytest.fixture(scope="session")
def provider(run_dir: Path, seed: int, pytestconfig: pytest.Config) -> Iterator[ClusterProvider]:
    """Makes clusters of this run where it wants them; with --keep they can outlive it."""
    ledger = Ledger(run_dir / "ledger.jsonl")
    path: Path | None = pytestconfig.getoption("--machine")
    provider: ClusterProvider
    if path is None:
        outlive = bool(pytestconfig.getoption("--keep"))
        provider = LocalProvider(run_dir=run_dir, ledger=ledger, seed=seed, outlive=outlive)
    else:
        # Imported here: the client of Kubernetes takes a second, which local runs do without.
        from kvsync.testing.clusters.kubernetes.provider import KubernetesProvider

        provider = KubernetesProvider(Machine.read(path), run_dir=run_dir, ledger=ledger, seed=seed)
    yield provider
    provider.close()


@pytest.fixture
def own_cluster(
    provider: ClusterProvider, settings: dict[str, object], request: pytest.FixtureRequest
) -> Iterator[Cluster]:
    """A cluster without pods for one test, and named after it; `settings` are those of its gateway."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    cluster = provider.create(name, **settings)
    yield cluster
    keep_evidence(cluster, request)
    if keeps(request.config):
        print(cluster.describe())
    else:
        provider.delete(name)


def keep_evidence(cluster: Cluster, request: pytest.FixtureRequest) -> None:
    """After a test that did not pass, write down what its cluster looks like, and name it in the report."""
    if went_wrong(request.node):
        write_down(cluster, request)


def write_down(cluster: Cluster, request: pytest.FixtureRequest) -> None:
    """Write down what a cluster looks like now, and name it in the report of the test."""
    run_dir: Path = request.getfixturevalue("run_dir")
    name = f"{cluster.name}-{request.node.name}"[:80].translate(_PLAIN)
    folder = new_folder(run_dir / "evidence" / name)
    try:
        collect(cluster, folder, INTERRUPTED_S if interrupted(request.node) else WITHIN_S)
    finally:
        link_evidence(request.node, folder)
    print((folder / "gateway.log").read_text(encoding="utf-8"))


@pytest.fixture
def scenario(cluster: Cluster, history: History, seed: int) -> Scenario:
    """The cluster, ready to be asked and verified."""
    return Scenario(cluster, history, seed=seed)
