"""A comparison of index and pods is made at one moment, also while pods go on publishing."""

import os
import threading
from collections.abc import Iterator

import pytest

from kvsync.testing.clusters.endpoints import PodAdmin
from kvsync.testing.clusters.local.cluster import LocalCluster, LocalProvider
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.scenarios.quiesce import compare_at_rest


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One pod with a small cache: most prompts evict others."""
    run_dir = tmp_path_factory.mktemp(f"rest-{os.getpid()}-")
    provider = LocalProvider(run_dir=run_dir, ledger=Ledger(run_dir / "ledger.jsonl"), seed=1)
    cluster = provider.create("c")
    cluster.deploy("qwen", 1, capacity=24)
    yield cluster
    provider.delete("c")


def test_a_pod_that_publishes_meanwhile_is_compared_again(cluster: LocalCluster) -> None:
    """What came between reading and asking is not a violation: the comparison is made again."""
    (pod,) = cluster.pods()
    late = threading.Thread(target=PodAdmin(pod.admin_url).churn, args=(60, 2.0), kwargs={"blocks": 6})
    late.start()
    found = []
    while late.is_alive():
        comparison, snapshot = compare_at_rest(cluster)
        found += snapshot.wrong(comparison)
    late.join()

    assert found == []
    assert compare_at_rest(cluster)[0].lookups > 0
