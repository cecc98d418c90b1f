"""Looking at what failed while it is still alive."""

import json
from collections.abc import Callable

import httpx
import pytest

from kvsync.testing.processes.living import find_strays
from tests.pipeline.conftest import Pipeline

SOURCE = """
    import pytest
    from kvsync.testing.scenarios.fixtures import own_cluster, provider

    @pytest.fixture
    def settings():
        return {}

    def test_bad(own_cluster):
        own_cluster.deploy("qwen")
        assert 1 == 2

    def test_after_it():
        pass
"""


@pytest.mark.timeout(120)
def test_a_kept_cluster_answers_until_it_is_cleaned(
    pipeline: Pipeline, repository: Callable[..., str]
) -> None:
    """With --keep a stage ends at its failure, says where the cluster is, and `clean` ends it."""
    status, lines = pipeline("run", "e2e", "--keep", "--repository", repository(e2e=SOURCE))
    (run,) = pipeline.runs()
    e2e, residue = json.loads((run / "report.json").read_text())["stages"]

    assert (status, lines[-1]) == (1, "FAILED: e2e: 1 of 2 failed: test_bad: assert 1 == 2")
    assert [check["kind"] for check in e2e["checks"]] == ["failed", "not-run"]
    assert len(residue["checks"]) == 2
    (told,) = [line for line in e2e["checks"][0]["log_tail"].splitlines() if line.startswith("gateway: ")]
    assert httpx.get(told.removeprefix("gateway: ").partition(",")[0], timeout=5).is_success
    assert pipeline("clean")[1][-1] == "2 removed"
    assert find_strays(run.name) == []
