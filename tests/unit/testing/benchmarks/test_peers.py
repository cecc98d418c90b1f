"""Peers are found, or it is said how to get them; both sides' turns become figures and ratios."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from kvsync.testing.benchmarks.gauge import Gauge
from kvsync.testing.benchmarks.peers.gateways import Contender, GatewayBench
from kvsync.testing.benchmarks.peers.index import IndexRow
from kvsync.testing.benchmarks.peers.requests import Kind, RequestRow
from kvsync.testing.benchmarks.peers.table import PEERS, Installed, find
from kvsync.testing.benchmarks.peers.turns import in_turns
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.program import ProgramEnded
from kvsync.testing.results.measurement import Measurements, read_measurements
from kvsync.testing.results.verdicts import NotRun


def install(folder: Path, distribution: str, program: str) -> None:
    """Lay out what pip leaves of a distribution in a virtual environment."""
    (folder / "lib" / "python3.12" / "site-packages" / f"{distribution}.dist-info").mkdir(parents=True)
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / program).write_text("")


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_is_found_in_any_environment(name: str, tmp_path: Path) -> None:
    """What its environment is called does not matter; its version is told."""
    peer = PEERS[name]
    install(tmp_path / "a", "other-1.0", "other")
    install(tmp_path / "b", f"{peer.distribution.replace('-', '_')}-1.2.3", peer.program)

    found = find(str(tmp_path), name)

    assert str(found) == f"{name} 1.2.3"
    assert found.program == tmp_path / "b" / "bin" / peer.program


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        (None, "KVSYNC_CI_PEERS names no folder"),
        ("", "KVSYNC_CI_PEERS names no folder"),
        ("nowhere", "there is no folder nowhere"),
        ("{here}", "bin/pip install ai-dynamo-runtime"),
    ],
)
def test_an_absent_peer_is_not_run(folder: str | None, said: str, tmp_path: Path) -> None:
    """Whoever reads it knows how to mend that."""
    with pytest.raises(NotRun, match=said):
        find(folder and folder.replace("{here}", str(tmp_path)), "dynamo")


def test_turns_alternate() -> None:
    """Each side goes first in every second turn."""
    order: list[str] = []

    def side(name: str) -> dict[str, float]:
        order.append(name)
        return {"cpu": 1.0}

    in_turns(lambda: side("ours"), lambda: side("theirs"), 3)

    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]


def test_figures_of_both_sides(tmp_path: Path) -> None:
    """Medians, spreads as shares of them, and the median of the ratios of turns, of what both sides have."""
    ours, theirs = iter((2.0, 3.0, 5.0)), iter((4.0, 4.0, 4.0))
    measurements = Measurements(tmp_path / "benchmark.json")

    contest = in_turns(lambda: {"cpu": next(ours), "own": 1.0}, lambda: {"cpu": next(theirs)}, 3)
    contest.record(Gauge(measurements, "contest", {"peer": "it 1.0"}))

    assert {each.metric: (each.value, each.unit) for each in read_measurements(measurements.path)} == {
        "cpu_ours": (3.0, "us"),
        "cpu_ours_spread": (1.0, "ratio"),
        "cpu_peer": (4.0, "us"),
        "cpu_peer_spread": (0.0, "ratio"),
        "cpu_ratio": (0.75, "ratio"),
    }


@pytest.fixture
def row(tmp_path: Path) -> IndexRow:
    """A short row."""
    conditions = {"blocks": 640, "pods": 1}
    return IndexRow(
        row="memory",
        conditions=conditions,
        seed=1,
        log=tmp_path / "player.log",
        ledger=Ledger(tmp_path / "ledger.jsonl"),
    )


def test_a_version_without_what_is_needed_is_not_run(row: IndexRow) -> None:
    """An interpreter that has not the peer's names says which one it lacks."""
    peer = Installed(name="dynamo", version="0", program=Path(sys.executable))

    with pytest.raises(NotRun, match=r"dynamo is of no use: No module named 'dynamo"):
        row.theirs(peer)


def test_a_peer_that_fails_is_told_by_its_last_words(row: IndexRow) -> None:
    """No number is made of it."""
    peer = Installed(name="unheard of", version="0", program=Path(sys.executable))

    with pytest.raises(AssertionError, match=r"(?s)unheard of ended with exit status 1: .*KeyError"):
        row.theirs(peer)


def test_a_gateway_that_fails_is_told_by_its_last_words(tmp_path: Path) -> None:
    """It is not waited for, and no number is made of it."""
    words = [sys.executable, "-c", "raise SystemExit('--policy: no such choice')"]
    bench = GatewayBench(folder=tmp_path, ledger=Ledger(tmp_path / "ledger.jsonl"), seed=1)
    contender = Contender(name="router", words=lambda *_: words, ready="/health")

    with (
        pytest.raises(ProgramEnded, match=r"(?s)router ended by itself with exit code 1; .*no such choice"),
        bench.gateway(contender, []),
    ):
        pass


@pytest.mark.parametrize("kind", ["plain", "streamed", "8K ids"])
def test_half_of_the_prompts_begin_alike(kind: Kind, tmp_path: Path) -> None:
    """Two of each four share three quarters; the others share nothing, and each seed makes the same ones."""
    bench = GatewayBench(folder=tmp_path, ledger=Ledger(tmp_path / "ledger.jsonl"), seed=1)
    row = RequestRow(bench=bench, kind=kind, requests=8)

    bodies = [json.loads(body) for body in row.bodies()]

    starts = Counter(str(body["prompt"][:20]) for body in bodies)
    assert max(starts.values()) == len(bodies) / 2 == 36
    assert len(starts) == 37
    assert {body["stream"] for body in bodies} == {kind == "streamed"}
    assert row.bodies() == row.bodies()
