"""What arrives of the load that a flood offers: the whole way over real sockets into an index.

A latency begins when an event leaves its publisher and ends when it is applied, so it holds sending,
receiving, decoding and indexing. The lag is the number of events sent and not yet applied.
"""

import asyncio
import resource
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from kvsync.events import EventBatch, Source
from kvsync.index import PrefixIndex
from kvsync.sequence import State
from kvsync.sources.sink import Intake
from kvsync.sources.status import SourceStatus
from kvsync.subscriber import Subscriber, open_context
from kvsync.testing.benchmarks.flood import EventLoad, Flood
from kvsync.testing.benchmarks.gauge import Timing
from kvsync.testing.errors import WaitTimeout
from kvsync.testing.processes.ledger import Ledger

_JOIN_TIMEOUT_S = 20.0
_LATE_S = 30.0
"""How long after the last event was due the rest may still arrive."""
_INTERVAL_S = 0.01
_PAUSE_INTERVAL_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """What became of a load: when events left and were applied, by source (monotonic clock, seconds).

    `pauses` are turns of the receiver's event loop, timed every few milliseconds: while one lasts, nothing
    else runs in it. `cpu_s` is the processor time of all threads of the receiver.
    """

    sent: Sequence[Sequence[float]]
    applied: Sequence[Sequence[float]]
    forgotten: Sequence[str]
    statuses: Sequence[SourceStatus]
    index: PrefixIndex
    pauses: Sequence[Timing]
    cpu_s: float

    def flaws(self, load: EventLoad) -> list[str]:
        """Say what differs from every event having been applied once; [] when nothing does."""
        blocks = sum(len(event.block_hashes) for event in load.stored())
        counts = [
            ("events", sum(map(len, self.applied)), load.events),
            ("blocks", self.index.blocks_total, blocks),
        ]
        wrong = [
            f"{found} {what} instead of {expected}" for what, found, expected in counts if found != expected
        ]
        return wrong + [f"forgotten: {reason}" for reason in self.forgotten]

    @property
    def latencies(self) -> list[float]:
        """Return the seconds from leaving to being applied, for each event that was."""
        pairs = (zip(*times, strict=False) for times in zip(self.sent, self.applied, strict=True))
        return [applied - sent for sent, applied in chain.from_iterable(pairs)]

    @property
    def offered_s(self) -> float:
        """From the first event that left to the last."""
        return max(chain(*self.sent)) - min(chain(*self.sent))

    @property
    def duration_s(self) -> float:
        """From the first event that left to the last one applied."""
        return max(chain(*self.applied)) - min(chain(*self.sent))

    @property
    def drain_s(self) -> float:
        """From the last event that left to the last one applied."""
        return max(chain(*self.applied)) - max(chain(*self.sent))

    @property
    def peak_lag(self) -> int:
        """The most events that had left and were not yet applied."""
        sent = sorted(chain(*self.sent))
        return max(
            bisect_right(sent, moment) - position
            for position, moment in enumerate(sorted(chain(*self.applied)))
        )


class _Arrivals:
    """A sink that applies events to an index and notes when."""

    def __init__(self, sources: Sequence[Source], expected: int) -> None:
        self.index = PrefixIndex()
        self.applied: Mapping[Source, list[float]] = {source: [] for source in sources}
        self.forgotten: list[str] = []
        self.complete = asyncio.Event()
        self._missing = expected

    def apply(self, source: Source, batch: EventBatch) -> None:
        self.index.apply_batch(source, batch.events)
        self._note(source, len(batch.events))

    def take(self, source: Source, payloads: Sequence[bytes]) -> Intake | None:
        taken = self.index.apply_payloads(source, payloads)
        if taken is None:
            return None
        messages, _, stored, removed, *_ = taken
        self._note(source, stored + removed)
        return Intake(stored + removed, "", messages)

    def _note(self, source: Source, events: int) -> None:
        self.applied[source].extend([time.monotonic()] * events)
        self._missing -= events
        if not self._missing:
            self.complete.set()

    def forget(self, source: Source, reason: str) -> None:
        self.forgotten.append(f"{source.pod}: {reason}")
        self.index.forget(source)


@contextmanager
def _many_sockets() -> Iterator[None]:
    """Allow this process, and what it starts, as many open files as it may have.

    A source takes up to twelve, a publisher eleven; what is allowed at first is often 1024.
    """
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def receive(load: EventLoad, *, log: Path, ledger: Ledger) -> Reception:
    """Offer a load and receive it; what did not arrive in time is missing from the result.

    Raises WaitTimeout when the publishers do not start or the subscribers do not join them.
    """
    with _many_sockets(), Flood(load, log=log, ledger=ledger) as flood:
        arrivals, statuses, pauses, cpu_s = asyncio.run(_receive(flood))
        sent = flood.sent(timeout_s=_LATE_S)
    return Reception(
        sent=[sent[number :: load.publishers] for number in range(load.publishers)],
        applied=list(arrivals.applied.values()),
        forgotten=arrivals.forgotten,
        statuses=statuses,
        index=arrivals.index,
        pauses=pauses,
        cpu_s=cpu_s,
    )


async def _receive(flood: Flood) -> tuple[_Arrivals, list[SourceStatus], list[Timing], float]:
    load = flood.load
    sources = [Source(f"pod-{number}", "model") for number in range(load.publishers)]
    arrivals, pauses = _Arrivals(sources, load.events), list[Timing]()
    with open_context() as context:
        subscribers = [
            Subscriber(
                source,
                endpoint=live,
                replay_endpoint=replay,
                sink=arrivals,
                take=arrivals.take,
                context=context,
            )
            for source, (live, replay) in zip(sources, flood.endpoints, strict=True)
        ]
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(subscriber.run()) for subscriber in subscribers]
            try:
                await _joined(subscribers)
                running.append(tasks.create_task(_watch_pauses(pauses)))
                cpu_before = time.process_time()
                flood.begin()
                with suppress(TimeoutError):
                    async with asyncio.timeout(load.due_s(load.events) + _LATE_S):
                        await arrivals.complete.wait()
                cpu_s = time.process_time() - cpu_before
            finally:
                for task in running:
                    task.cancel()
    return arrivals, [subscriber.status for subscriber in subscribers], pauses, cpu_s


async def _watch_pauses(pauses: list[Timing]) -> None:
    while True:
        wall, cpu = time.perf_counter(), time.thread_time()
        await asyncio.sleep(0)
        pauses.append(Timing(time.perf_counter() - wall, time.thread_time() - cpu))
        await asyncio.sleep(_PAUSE_INTERVAL_S)


async def _joined(subscribers: Sequence[Subscriber]) -> None:
    """Wait until each subscriber has the history of its publisher, and live messages come in after it."""
    await _until(lambda: all(each.status.state is State.EXACT for each in subscribers), subscribers)
    seen = [each.status.batches for each in subscribers]
    await _until(
        lambda: all(each.status.batches > n for each, n in zip(subscribers, seen, strict=True)), subscribers
    )


async def _until(condition: Callable[[], bool], subscribers: Sequence[Subscriber]) -> None:
    try:
        async with asyncio.timeout(_JOIN_TIMEOUT_S):
            while not condition():  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(_INTERVAL_S)
    except TimeoutError as exc:
        states = [each.status.state.value for each in subscribers]
        raise WaitTimeout("subscribers that joined their publishers", _JOIN_TIMEOUT_S, states) from exc
