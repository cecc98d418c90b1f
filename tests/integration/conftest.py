"""What the tests with real sockets share: waiting, tasks that end with the test, a followed publisher."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Protocol

import pytest

from kvsync.codec import encode
from kvsync.config import SubscriberOptions
from kvsync.events import BlockRemoved, EventBatch, Source
from kvsync.publisher import Publisher
from kvsync.subscriber import Subscriber
from kvsync.testing.scenarios.kubernetes_fixtures import (
    chaos_crds,
    kubernetes_client,
    kubernetes_namespace,
    test_kubeconfig,
    test_machine,
)

__all__ = ["chaos_crds", "kubernetes_client", "kubernetes_namespace", "test_kubeconfig", "test_machine"]

WITHIN_S = 20.0
"""Far above what any condition needs, so that only a real failure takes this long."""

Eventually = Callable[[Callable[[], object]], Awaitable[None]]
Background = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]


class Follow(Protocol):
    """Starts a subscriber; options are those of SubscriberOptions."""

    def __call__(self, endpoint: str, replay_endpoint: str | None, **options: float) -> Subscriber:
        """Give the subscriber, whose task runs until the test ends."""


class Publish(Protocol):
    """Publishes numbered batches."""

    def __call__(self, publisher: Publisher, *numbers: int) -> None:
        """Publish them in this order."""


QUICK = {
    "reconnect_s": 0.02,
    "reconnect_max_s": 0.05,
    "probe_interval_s": 60.0,
    "replay_idle_timeout_s": 0.1,
    "log_interval_s": 0.0,
}
"""Quick to reconnect and to give up, and no probe unless the test is about probes."""


@pytest.fixture
def eventually() -> Eventually:
    """Wait for a condition without guessing how long it takes."""

    async def wait(condition: Callable[[], object]) -> None:
        answer: object = None
        try:
            async with asyncio.timeout(WITHIN_S):
                while not (answer := condition()):  # noqa: ASYNC110 - nothing signals it
                    await asyncio.sleep(0.002)
        except TimeoutError:
            pytest.fail(f"did not come true within {WITHIN_S} s; last answer: {answer!r}")

    return wait


@pytest.fixture
async def background() -> AsyncIterator[Background]:
    """Start a task that is cancelled after the test; one that failed by itself fails the test."""
    tasks: list[asyncio.Task[None]] = []

    def start(work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(WITHIN_S):
        endings = await asyncio.gather(*tasks, return_exceptions=True)
    assert [ending for ending in endings if isinstance(ending, Exception)] == []


class Recorder:
    """A sink that keeps, in order, the number of each batch and "forgotten"."""

    def __init__(self) -> None:
        self.log: list[int | str] = []
        self.reasons: list[str] = []
        self._awaited: dict[int, asyncio.Event] = {}

    def holds(self, count: int) -> asyncio.Event:
        """Return what is set as soon as this many are kept, before more than one turn's are added."""
        return self._awaited.setdefault(count, asyncio.Event())

    def apply(self, source: Source, batch: EventBatch) -> None:
        """Keep the number."""
        self.log.append(int(batch.ts))
        if awaited := self._awaited.get(len(self.log)):
            awaited.set()

    def forget(self, source: Source, reason: str) -> None:
        """Keep that, and why."""
        self.log.append("forgotten")
        self.reasons.append(reason)


@pytest.fixture
def recorder() -> Recorder:
    """What a followed publisher's batches go into."""
    return Recorder()


@pytest.fixture
def numbered() -> Callable[[int], bytes]:
    """Make a payload that the recorder shows as a number."""
    return lambda number: encode(EventBatch(ts=float(number), events=(BlockRemoved(block_hashes=(number,)),)))


@pytest.fixture
def publish(numbered: Callable[[int], bytes]) -> Publish:
    """Publish one numbered batch after the other."""

    def publish(publisher: Publisher, *numbers: int) -> None:
        for number in numbers:
            publisher.publish(numbered(number))

    return publish


@pytest.fixture
def follow(background: Background, recorder: Recorder) -> Follow:
    """Follow an endpoint into the recorder until the test ends."""

    def follow(endpoint: str, replay_endpoint: str | None, **options: float) -> Subscriber:
        subscriber = Subscriber(
            Source("pod", "model"),
            endpoint=endpoint,
            replay_endpoint=replay_endpoint,
            sink=recorder,
            options=SubscriberOptions.model_validate({**QUICK, **options}),
        )
        background(subscriber.run())
        return subscriber

    return follow
