"""The whole way of an event: a publisher in another process, ZeroMQ, subscriber, codec, index."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from kvsync.testing.benchmarks.arrivals import Reception, receive
from kvsync.testing.benchmarks.flood import EventLoad
from kvsync.testing.benchmarks.gauge import Gauge, side_by_side
from kvsync.testing.benchmarks.workload import BLOCK_SIZE, encoded, prompts, stored
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.measurement import Measurements

P99_GOAL_US = 1000


@pytest.mark.parametrize(
    ("blocks", "rate_per_s"),
    [
        pytest.param(1, 10_000, id="1-block"),
        pytest.param(3, 1000, id="3-blocks"),
        pytest.param(64, 500, id="64-blocks"),
    ],
)
def test_latency(
    blocks: int,
    rate_per_s: int,
    seed: int,
    profile: str,
    tmp_path: Path,
    ledger: Ledger,
    measurements: Measurements,
    keep_histogram: Callable[[Reception], None],
) -> None:
    """Events at a rate that leaves the subscriber time to sleep are all applied, each once."""
    events = rate_per_s * (1 if profile == "quick" else 10)
    load = EventLoad(
        seed=seed, events=events, least=blocks * BLOCK_SIZE, most=blocks * BLOCK_SIZE, rate_per_s=rate_per_s
    )

    reception = receive(load, log=tmp_path / "flood.log", ledger=ledger)

    keep_histogram(reception)
    assert reception.flaws(load) == []
    gauge = Gauge(measurements, "event path: latency", {"blocks": blocks, "rate_per_s": rate_per_s})
    gauge.record_latencies("event", [reception.latencies], p99_goal_us=P99_GOAL_US)
    gauge.record("cpu_event", reception.cpu_s / events * 1e6, "us", samples=events)


@pytest.mark.parametrize(
    ("blocks", "events", "goal_per_s"),
    [pytest.param(3, 10_000, 10_000, id="3-blocks"), pytest.param(64, 1000, None, id="64-blocks")],
)
def test_throughput(
    blocks: int,
    events: int,
    goal_per_s: float | None,
    seed: int,
    profile: str,
    tmp_path: Path,
    ledger: Ledger,
    measurements: Measurements,
) -> None:
    """Events sent as fast as possible are all applied, each once."""
    events = events if profile == "quick" else 2 * events
    load = EventLoad(seed=seed, events=events, least=blocks * BLOCK_SIZE, most=blocks * BLOCK_SIZE)

    reception = receive(load, log=tmp_path / "flood.log", ledger=ledger)

    assert reception.flaws(load) == []
    gauge = Gauge(measurements, "event path: throughput", {"blocks": blocks, "events": events})
    rate = events / reception.duration_s
    gauge.record("wall_events_per_s", rate, "1/s", samples=events, better="higher", goal=goal_per_s)
    for clock in ("cpu", "wall"):
        longest = max(getattr(pause, f"{clock}_s") for pause in reception.pauses)
        gauge.record(f"{clock}_pause_max", longest * 1e3, "ms", samples=len(reception.pauses))
    gauge.record("cpu_event", reception.cpu_s / events * 1e6, "us", samples=events)


def test_three_receives_against_multipart(
    rng: random.Random, rounds: int, measurements: Measurements
) -> None:
    """Three `recv()` take the same messages as one `recv_multipart()`, at a fraction of its price."""
    messages = 1000
    (payload,) = encoded([stored(prompt) for prompt in prompts(rng, 1, range(48, 49))])
    taken: list[bytes] = []
    with zmq.Context() as context, context.socket(zmq.PAIR) as sender, context.socket(zmq.PAIR) as receiver:
        sender.sndhwm = receiver.rcvhwm = 0
        receiver.rcvtimeo = 10_000
        sender.connect(f"tcp://127.0.0.1:{receiver.bind_to_random_port('tcp://127.0.0.1')}")
        sent = [number.to_bytes(8, "big") for number in range(4 * rounds * messages)]
        for number in sent:
            sender.send_multipart((b"", number, payload))

        def take_by_frames() -> None:
            for _ in range(messages):
                receiver.recv()
                taken.append(receiver.recv())
                receiver.recv()

        def take_whole() -> None:
            taken.extend(receiver.recv_multipart()[1] for _ in range(messages))

        by_frames, whole = side_by_side(take_by_frames, take_whole, rounds=2 * rounds)

    assert taken == sent
    gauge = Gauge(measurements, "receiving", {"blocks": 3})
    gauge.record_ratio("frames_to_multipart", by_frames, whole)
    gauge.record_cost("frames", by_frames, messages)
    gauge.record_cost("multipart", whole, messages)
