"""A gateway that is killed, or replaced, before engines with short rings: nothing is forgotten."""

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


@pytest.fixture(params=[False, True], ids=["without snapshots", "with snapshots"])
def settings(request: pytest.FixtureRequest, folder: Path) -> dict[str, object]:
    """A gateway that writes down what changed four times a second, or never."""
    snapshots = {"folder": str(folder), "interval_s": 0.25} if request.param else {}
    return {"snapshots": snapshots, "routing": {"expected_s": 0}}


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


def test_a_killed_gateway_starts_from_its_snapshots(
    scenario: Scenario, folder: Path, settings: dict[str, object]
) -> None:
    """With snapshots the hit rate is what it was, and the index is exactly what engines hold."""
    cluster, remembers = scenario.cluster, bool(settings["snapshots"])
    cluster.deploy("qwen", 4, capacity=4096, buffer_steps=RING, time_scale=0.01)
    requests = generate(scenario.seed, REQUESTS, model="qwen", max_tokens=4)

    def send() -> float:
        return cached_share(_sent(scenario, requests))

    send()
    before = send()
    view = GatewayView(cluster.gateways()[0])
    if remembers:
        wait_for(lambda: written(folder) == applied(view), what="snapshots of every batch", timeout_s=30)
    cluster.restart_gateway()
    after = send()

    scenario.history.append(f="restart", snapshots=remembers, before=before, after=after)
    kept = "with snapshots" if remembers else "without"
    print(f"\ncached before a kill {before:.1%}, after it {after:.1%} {kept}")
    if remembers:
        assert after > before - 0.01
        scenario.verify()
    else:
        assert after < before


@pytest.mark.parametrize(
    "settings", [{"routing": {"expected_s": 0}, "readiness": {"known_share": 1}}], ids=["ready when it knows"]
)
@pytest.mark.parametrize("takes", [False, True], ids=["from nothing", "from the old one"])
def test_a_rolling_update_keeps_the_hit_rate(
    scenario: Scenario, own_cluster: "LocalCluster", takes: bool
) -> None:
    """A new gateway that takes over what the old one knows, and is ready only then, finds all again."""
    own_cluster.deploy("qwen", 4, capacity=4096, buffer_steps=RING, time_scale=0.01)
    requests = generate(scenario.seed, REQUESTS, model="qwen", max_tokens=4)
    cached_share(_sent(scenario, requests))
    before = cached_share(_sent(scenario, requests))
    scenario.settle()

    own_cluster.roll_gateway(snapshots={"take_from": own_cluster.gateway_url} if takes else {})
    after = cached_share(_sent(scenario, requests))

    scenario.history.append(f="rolling update", takes=takes, before=before, after=after)
    print(f"\ncached before a rolling update {before:.1%}, after it {after:.1%}, taking over: {takes}")
    if takes:
        assert after > before - 0.01
        scenario.verify()
    else:
        assert after < before - 0.05


def _sent(scenario: Scenario, requests: Sequence[TraceRequest]) -> list[Answer]:
    with Sender(scenario.cluster.gateway_url, scenario.history) as sender:
        return [sender.send(request) for request in requests]
