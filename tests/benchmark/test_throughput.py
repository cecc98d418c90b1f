"""How many events a second one thread decodes and applies."""

import random
from collections.abc import Sequence
from functools import partial

import pytest

from kvsync.codec import Encoding
from kvsync.events import BlockStored, Event, Source
from kvsync.index import PrefixIndex
from kvsync.testing.benchmarks.gauge import Gauge, feed, timed
from kvsync.testing.benchmarks.workload import encoded, prompts, removed, stored
from kvsync.testing.results.measurement import Measurements

EVENTS = 10_000
GOAL_PER_S = 10_000
TOKENS = range(50, 150)
RESIDENT = 2500
"""Prompts that the engine's cache holds."""

SOURCE = Source("pod-0", "model")


@pytest.fixture(scope="module")
def events(seed: int) -> list[BlockStored]:
    """What an engine announces for ten thousand new prompts."""
    return [stored(prompt) for prompt in prompts(random.Random(seed), EVENTS, TOKENS)]


@pytest.mark.parametrize(
    ("per_batch", "encoding"),
    [
        pytest.param(1, Encoding.ARRAY, id="arrays"),
        pytest.param(1, Encoding.MAP, id="maps"),
        pytest.param(20, Encoding.MAP, id="maps-20-a-batch", marks=pytest.mark.full),
    ],
)
def test_filling(
    per_batch: int,
    encoding: Encoding,
    events: Sequence[BlockStored],
    rounds: int,
    measurements: Measurements,
) -> None:
    """Ten thousand events of new prompts leave all their blocks in the index."""
    payloads = encoded(events, per_batch=per_batch, events_as=encoding)
    blocks = sum(len(event.block_hashes) for event in events)

    def fill() -> None:
        index = PrefixIndex()
        feed(index, SOURCE, payloads)
        assert index.size(SOURCE) == index.blocks_total == blocks

    timings = [timed(fill) for _ in range(rounds)]

    conditions = {"events": EVENTS, "per_batch": per_batch, "encoding": encoding.value}
    gauge = Gauge(measurements, "throughput: new blocks", conditions)
    gauge.record_rate("events", timings, EVENTS, goal=GOAL_PER_S)
    gauge.record_cost("event", timings, EVENTS)
    gauge.record_cost("block", timings, blocks)


def test_steady_state(events: Sequence[BlockStored], rounds: int, measurements: Measurements) -> None:
    """With a full cache, each prompt evicts an old one and the index holds exactly the resident ones."""
    steps: list[Event] = []
    events = events[: 3 * RESIDENT]
    for old, new in zip(events, events[RESIDENT:], strict=False):
        steps += [removed(old), new]
    filling, payloads = encoded(events[:RESIDENT]), encoded(steps, per_batch=2)
    expected = {engine_hash for event in events[-RESIDENT:] for engine_hash in event.block_hashes}
    timings = []
    for _ in range(rounds):
        index = PrefixIndex()
        feed(index, SOURCE, filling)
        timings.append(timed(partial(feed, index, SOURCE, payloads)))
        assert index.blocks(SOURCE).keys() == expected

    gauge = Gauge(measurements, "throughput: steady state", {"events": len(steps), "resident": RESIDENT})
    gauge.record_rate("events", timings, len(steps), goal=GOAL_PER_S)
    gauge.record_cost("event", timings, len(steps))
