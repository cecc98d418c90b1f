"""Our gateway beside those of peers, before the same simulated engines, in turns."""

from pathlib import Path

import pytest

from kvsync.testing.benchmarks.flood import EventLoad
from kvsync.testing.benchmarks.gauge import Gauge
from kvsync.testing.benchmarks.peers.contenders import ours, theirs
from kvsync.testing.benchmarks.peers.events import EventRow
from kvsync.testing.benchmarks.peers.gateways import GatewayBench
from kvsync.testing.benchmarks.peers.requests import Kind, RequestRow
from kvsync.testing.benchmarks.peers.table import find
from kvsync.testing.benchmarks.peers.turns import in_turns
from kvsync.testing.benchmarks.workload import BLOCK_SIZE
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.measurement import Measurements

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

TURNS = 3


@pytest.fixture
def bench(seed: int, tmp_path: Path, ledger: Ledger) -> GatewayBench:
    """Where gateways and engines run."""
    return GatewayBench(folder=tmp_path, ledger=ledger, seed=seed)


@pytest.mark.parametrize("name", ["vllm-router", "dynamo"])
@pytest.mark.parametrize(
    ("blocks", "events"), [pytest.param(1, 50_000, id="1-block"), pytest.param(64, 5000, id="64-blocks")]
)
def test_events(
    blocks: int,
    events: int,
    name: str,
    bench: GatewayBench,
    peers_folder: str | None,
    measurements: Measurements,
) -> None:
    """Both sides know the last of many events, in less than a minute."""
    peer = find(peers_folder, name)
    tokens = blocks * BLOCK_SIZE
    row = EventRow(bench=bench, load=EventLoad(seed=bench.seed, events=events, least=tokens, most=tokens))

    contest = in_turns(lambda: row.play(ours()), lambda: row.play(theirs(peer)), TURNS)

    gauge = Gauge(measurements, "peers: events over ZMQ", {"blocks": blocks, "peer": str(peer)})
    contest.record(gauge)


@pytest.mark.parametrize(
    ("kind", "requests", "name"),
    [
        pytest.param("plain", 600, "vllm-router", id="plain-vllm-router"),
        pytest.param("plain", 600, "sglang-router", id="plain-sglang-router"),
        pytest.param("streamed", 400, "vllm-router", id="streamed-vllm-router"),
        pytest.param("streamed", 400, "sglang-router", id="streamed-sglang-router"),
        # sglang-router takes no token ids in place of a text.
        pytest.param("8K ids", 300, "vllm-router", id="8K-token-ids-vllm-router"),
    ],
)
def test_requests(
    kind: Kind,
    requests: int,
    name: str,
    bench: GatewayBench,
    peers_folder: str | None,
    measurements: Measurements,
) -> None:
    """Sixteen clients get an answer to each of their requests from both sides."""
    peer = find(peers_folder, name)
    row = RequestRow(bench=bench, kind=kind, requests=requests)
    with bench.engines(2) as engines:
        contest = in_turns(lambda: row.play(ours(), engines), lambda: row.play(theirs(peer), engines), TURNS)

    gauge = Gauge(measurements, "peers: gateway", {"request": kind, "clients": 16, "peer": str(peer)})
    contest.record(gauge)
