"""Many publishers and many clients in one event loop, which is how the gateway runs."""

import asyncio
import random
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from kvsync.events import Source
from kvsync.hashing import block_hashes
from kvsync.index import PrefixIndex
from kvsync.testing.benchmarks.arrivals import receive
from kvsync.testing.benchmarks.flood import EventLoad
from kvsync.testing.benchmarks.gauge import Gauge, feed, timed
from kvsync.testing.benchmarks.workload import BLOCK_SIZE, PromptTokens, encoded, prompts, stored
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.measurement import Measurements

OPERATIONS = 1000
"""Events of all sources together, and as many queries of all clients: only the number of tasks changes."""


@pytest.mark.parametrize("number", [1, 10, 50, 100, 500])
def test_concurrency(number: int, rng: random.Random, rounds: int, measurements: Measurements) -> None:
    """With as many sources as clients, every event is applied and every query sees the prefix on all pods."""
    (system,) = prompts(rng, 1, range(1008, 1009))
    announcement = encoded([stored(system)])
    payloads = encoded([stored(prompt) for prompt in prompts(rng, OPERATIONS, range(96, 97))])
    sources = [Source(f"pod-{each}", "model") for each in range(number)]
    laps: list[list[float]] = []
    timings = []
    for _ in range(rounds):
        index = PrefixIndex()
        for source in sources:
            feed(index, source, announcement)
        traffic = _Traffic(index, sources, payloads, system)
        timings.append(timed(partial(_run, traffic)))
        laps.append(traffic.laps)
        assert index.blocks_total == number * 63 + OPERATIONS * 6
        assert traffic.answers == [{source.pod: 63 for source in sources}] * OPERATIONS

    gauge = Gauge(measurements, "concurrency", {"sources": number, "clients": number})
    gauge.record_rate("operations", timings, 2 * OPERATIONS)
    gauge.record_latencies("query_turn", laps)


@pytest.mark.parametrize(
    "publishers",
    [
        pytest.param(1, marks=pytest.mark.full),
        pytest.param(10, marks=pytest.mark.full),
        pytest.param(50, marks=pytest.mark.full),
        100,
        pytest.param(500, marks=pytest.mark.full),
    ],
)
def test_publishers(
    publishers: int, seed: int, tmp_path: Path, ledger: Ledger, measurements: Measurements
) -> None:
    """A thousand events a second, of one or of many real publishers, are all applied to their sources."""
    load = EventLoad(seed=seed, events=1500, least=96, most=96, rate_per_s=1000, publishers=publishers)

    reception = receive(load, log=tmp_path / "flood.log", ledger=ledger)

    assert reception.flaws(load) == []
    gauge = Gauge(measurements, "concurrency: sockets", {"publishers": publishers, "rate_per_s": 1000})
    gauge.record_latencies("event", [reception.latencies])
    gauge.record("cpu_event", reception.cpu_s / load.events * 1e6, "us", samples=load.events)


class _Traffic:
    """Sources that send and clients that ask, each a task that gives way after every operation."""

    def __init__(
        self, index: PrefixIndex, sources: Sequence[Source], payloads: Sequence[bytes], prompt: PromptTokens
    ) -> None:
        self._index, self._sources, self._payloads, self._prompt = index, sources, payloads, prompt
        self.answers: list[dict[str, int]] = []
        self.laps: list[float] = []

    async def run(self) -> None:
        number = len(self._sources)
        async with asyncio.TaskGroup() as tasks:
            for position, source in enumerate(self._sources):
                tasks.create_task(self._send(source, self._payloads[position::number]))
                tasks.create_task(self._ask(len(self._payloads[position::number])))

    async def _send(self, source: Source, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            feed(self._index, source, (payload,))
            await asyncio.sleep(0)

    async def _ask(self, times: int) -> None:
        for _ in range(times):
            started = time.perf_counter()
            hashes = block_hashes(self._prompt, BLOCK_SIZE)
            self.answers.append(self._index.match("model", "", hashes))
            await asyncio.sleep(0)
            self.laps.append(time.perf_counter() - started)


def _run(traffic: _Traffic) -> None:
    asyncio.run(traffic.run())
