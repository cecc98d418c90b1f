"""From the bytes of one event to an index that knows its blocks, one event at a time."""

import random
import time
from collections import deque

import pytest

from kvsync.codec import Encoding, decode
from kvsync.events import Source
from kvsync.index import PrefixIndex
from kvsync.testing.benchmarks.gauge import Gauge, feed, side_by_side, timed
from kvsync.testing.benchmarks.workload import encoded, prompts, stored
from kvsync.testing.results.measurement import Measurements

EVENTS = 1000
SOURCE = Source("pod-0", "model")


@pytest.mark.parametrize("encoding", Encoding, ids=lambda encoding: encoding.value)
@pytest.mark.parametrize(
    ("tokens", "blocks"),
    [
        pytest.param(48, 3, id="3-blocks"),
        pytest.param(100, 6, id="100-tokens"),
        pytest.param(1024, 64, id="64-blocks"),
    ],
)
def test_event_latency(
    tokens: int,
    blocks: int,
    encoding: Encoding,
    rng: random.Random,
    rounds: int,
    measurements: Measurements,
) -> None:
    """A thousand prepared events, decoded and applied one by one, leave all their blocks in the index."""
    events = [stored(prompt) for prompt in prompts(rng, EVENTS, range(tokens, tokens + 1))]
    payloads = encoded(events, events_as=encoding)
    laps: list[list[float]] = []

    def apply_each() -> None:
        index = PrefixIndex()
        laps.append([_lap(index, payload) for payload in payloads])
        assert index.size(SOURCE) == EVENTS * blocks

    timings = [timed(apply_each) for _ in range(rounds)]

    conditions = {"prompt_tokens": tokens, "blocks": blocks, "encoding": encoding.value}
    gauge = Gauge(measurements, "event latency", conditions)
    gauge.record_latencies("event", laps, p99_goal_us=1000)
    gauge.record_cost("event", timings, EVENTS)


def _lap(index: PrefixIndex, payload: bytes) -> float:
    started = time.perf_counter()
    feed(index, SOURCE, (payload,))
    return time.perf_counter() - started


@pytest.mark.parametrize(
    ("tokens", "blocks"), [pytest.param(48, 3, id="3-blocks"), pytest.param(1024, 64, id="64-blocks")]
)
def test_map_against_array(
    tokens: int, blocks: int, rng: random.Random, rounds: int, measurements: Measurements
) -> None:
    """Events written as maps decode to the same values as events written as arrays, at their own price."""
    events = [stored(prompt) for prompt in prompts(rng, 200, range(tokens, tokens + 1))]
    maps = encoded(events, events_as=Encoding.MAP)
    arrays = encoded(events, events_as=Encoding.ARRAY)

    of_maps, of_arrays = side_by_side(
        lambda: deque(map(decode, maps), maxlen=0),
        lambda: deque(map(decode, arrays), maxlen=0),
        rounds=2 * rounds,
    )

    assert [decode(payload) for payload in maps] == [decode(payload) for payload in arrays]
    gauge = Gauge(measurements, "decode", {"blocks": blocks})
    gauge.record_ratio("map_to_array", of_maps, of_arrays)
    gauge.record_cost("array", of_arrays, len(events))
    gauge.record_cost("map", of_maps, len(events))
