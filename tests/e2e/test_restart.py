"""A gateway that is killed, or replaced, before engines with short rings: nothing is forgotten.

That it would be without what is tested here, tests/integration/gateway/test_restart.py shows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kvsync.snapshots.coding import decode
from kvsync.testing import GatewayView, Scenario, wait_for
from kvsync.testing.traffic.sender import Answer, Sender
from kvsync.testing.traffic.trace import TraceRequest, generate

if TYPE_CHECKING:
    from kvsync.testing.clusters.local.cluster import LocalCluster

pytestmark = [pytest.mark.timeout(300), pytest.mark.local_only]

RING = 20
"""Steps: far fewer than the requests below take."""

REQUESTS = 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the gateway keeps its snapshots."""
    return tmp_path / "state"


@pytest.fixture
def settings(folder: Path) -> dict[str, object]:
    """A gateway that writes down what changed four times a second."""
    return {"snapshots": {"folder": str(folder), "interval_s": 0.25}, "routing": {"expected_s": 0}}


def cached_share(answers: Sequence[Answer]) -> float:
    """Return the share of the prompt tokens that engines had cached."""
    assert all(answer.ok for answer in answers)
    cached = sum(answer.cached_tokens or 0 for answer in answers)
    return cached / sum(answer.prompt_tokens or 0 for answer in answers)


def written(folder: Path) -> dict[str, int]:
    """Return up to which batch each source's snapshot goes."""
    snapshots = [decode(file.read_bytes()) for file in folder.glob("*.kvsnap")]
    return {snapshot.source.pod: snapshot.memory.last for snapshot in snapshots}


def applied(view: GatewayView) -> dict[str, int]:
    """Return the last batch of each source."""
    return {source.pod: source.last for source in view.sources() if source.last is not None}


def require_forgetful_rings(view: GatewayView) -> None:
    """Check that engines published more than their rings hold: the rest is known from elsewhere only."""
    published = applied(view).values()
    assert sum(published) > 2 * RING * len(published)


def test_a_killed_gateway_starts_from_its_snapshots(scenario: Scenario, folder: Path) -> None:
    """The hit rate is what it was, and the index is exactly what engines hold."""
    cluster = scenario.cluster
    cluster.deploy("qwen", 4, capacity=4096, buffer_steps=RING, time_scale=0.01)
    requests = generate(scenario.seed, REQUESTS, model="qwen", max_tokens=4)
    cached_share(_sent(scenario, requests))
    before = cached_share(_sent(scenario, requests))
    view = GatewayView(cluster.gateways()[0])
    wait_for(lambda: written(folder) == applied(view), what="snapshots of every batch", timeout_s=30)
    require_forgetful_rings(view)

    cluster.restart_gateway()
    after = cached_share(_sent(scenario, requests))

    scenario.history.append(f="restart", before=before, after=after)
    print(f"\ncached before a kill {before:.1%}, after it {after:.1%}")
    assert after > before - 0.01
    scenario.verify()


@pytest.mark.parametrize(
    "settings", [{"routing": {"expected_s": 0}, "readiness": {"known_share": 1}}], ids=["ready when it knows"]
)
def test_a_rolling_update_keeps_the_hit_rate(scenario: Scenario, own_cluster: "LocalCluster") -> None:
    """A new gateway that takes over what the old one knows, and is ready only then, finds all again."""
    own_cluster.deploy("qwen", 4, capacity=4096, buffer_steps=RING, time_scale=0.01)
    requests = generate(scenario.seed, REQUESTS, model="qwen", max_tokens=4)
    cached_share(_sent(scenario, requests))
    before = cached_share(_sent(scenario, requests))
    scenario.settle()
    require_forgetful_rings(GatewayView(own_cluster.gateways()[0]))

    own_cluster.roll_gateway(snapshots={"take_from": own_cluster.gateway_url})
    after = cached_share(_sent(scenario, requests))

    scenario.history.append(f="rolling update", before=before, after=after)
    print(f"\ncached before a rolling update {before:.1%}, after it {after:.1%}")
    assert after > before - 0.01
    scenario.verify()


def _sent(scenario: Scenario, requests: Sequence[TraceRequest]) -> list[Answer]:
    with Sender(scenario.cluster.gateway_url, scenario.history) as sender:
        return [sender.send(request) for request in requests]
