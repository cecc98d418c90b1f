"""A subscriber and a publisher on real sockets: whatever is lost on the way, the sink gets the truth."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import msgpack  # type: ignore[import-untyped]  # ships no type information
import pytest

from kvsync.codec import encode
from kvsync.errors import ConfigError
from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, EventBatch, Source
from kvsync.publisher import Frames, Publisher, ReplayLayout
from kvsync.sequence import Counters, State
from kvsync.subscriber import Subscriber, open_context
from kvsync.testing.clusters.local.fault_proxy import CLEAR, SILENT, FaultProxy, Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.integration.conftest import Background, Eventually, Follow, Publish, Recorder

ANY_PORT = "tcp://127.0.0.1:*"


def is_exact(subscriber: Subscriber) -> Callable[[], bool]:
    """A condition."""
    return lambda: subscriber.state is State.EXACT


def is_degraded(subscriber: Subscriber) -> Callable[[], bool]:
    """A condition."""
    return lambda: subscriber.state is State.DEGRADED


class Lossy:
    """A channel that loses the given numbers once."""

    def __init__(self, *lost: int) -> None:
        self.lost = [number.to_bytes(8, "big") for number in lost]

    def carry(self, message: Frames) -> Sequence[Frames]:
        """Lose it, or not."""
        return [] if message[1] in self.lost else [message]


async def test_live_batches_arrive_in_order(
    background: Background, follow: Follow, recorder: Recorder, publish: Publish, eventually: Eventually
) -> None:
    """What is published after the connection is up reaches the sink, and the status tells of it."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        background(publisher.serve())
        subscriber = follow(publisher.endpoint, publisher.replay_endpoint)
        assert (subscriber.state, subscriber.status.last_event_age_s) == (State.BLIND, None)
        await eventually(is_exact(subscriber))

        publish(publisher, 0, 1, 2)
        await eventually(lambda: recorder.log == [0, 1, 2])

        status = subscriber.status
        assert (status.source, status.state, status.reason) == (Source("pod", "model"), State.EXACT, "")
        assert (status.last, status.live, status.lag_batches, status.connected) == (2, 2, 0, True)
        assert (status.batches, status.events, dict(status.errors)) == (3, 3, {})
        assert status.last_event_age_s is not None
        assert 0 <= status.last_event_age_s < 5


async def test_an_event_arrives_as_it_was_published(background: Background, eventually: Eventually) -> None:
    """Two blocks on an unknown parent: hashes, parent and tokens come through unchanged."""
    stored = BlockStored(
        block_hashes=(1001, 1002), parent_block_hash=9999, token_ids=(1, 2, 3, 4), block_size=2
    )
    sent = EventBatch(ts=1.5, events=(stored, BlockRemoved(block_hashes=(7,)), AllBlocksCleared()), rank=0)
    received: list[EventBatch] = []

    class Keeper:
        def apply(self, source: Source, batch: EventBatch) -> None:
            received.append(batch)

        def forget(self, source: Source, reason: str) -> None:
            raise AssertionError(reason)

    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        background(publisher.serve())
        publisher.publish(encode(sent))
        subscriber = Subscriber(
            Source("pod", "model"),
            endpoint=publisher.endpoint,
            replay_endpoint=publisher.replay_endpoint,
            sink=Keeper(),
        )
        background(subscriber.run())
        await eventually(lambda: received == [sent])


@pytest.mark.parametrize("topic", ["", "kv@pod@model"], ids=["no topic", "topic"])
@pytest.mark.parametrize("layout", ReplayLayout, ids=lambda layout: layout.value)
async def test_a_late_joiner_gets_the_whole_history(
    background: Background,
    follow: Follow,
    recorder: Recorder,
    publish: Publish,
    eventually: Eventually,
    layout: ReplayLayout,
    topic: str,
) -> None:
    """What was published before comes by replay in both layouts; an empty topic does not hide the end."""
    async with Publisher(
        endpoint=ANY_PORT, replay_endpoint=ANY_PORT, topic=topic, replay_layout=layout
    ) as publisher:
        background(publisher.serve())
        publish(publisher, 0, 1, 2, 3, 4)
        subscriber = follow(publisher.endpoint, publisher.replay_endpoint)
        await eventually(is_exact(subscriber))
        publish(publisher, 5)
        await eventually(lambda: recorder.log == [0, 1, 2, 3, 4, 5])

        assert subscriber.status.counters.replays == 1


async def test_two_subscribers_do_not_disturb_each_other(
    background: Background, follow: Follow, recorder: Recorder, publish: Publish, eventually: Eventually
) -> None:
    """Connecting twice gives everything twice, and shared sockets are those of one context."""
    with open_context() as context:
        async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
            background(publisher.serve())
            subscribers = [
                Subscriber(
                    Source(name, "model"),
                    endpoint=publisher.endpoint,
                    replay_endpoint=publisher.replay_endpoint,
                    sink=recorder,
                    context=context,
                )
                for name in ("a", "b")
            ]
            tasks = [background(subscriber.run()) for subscriber in subscribers]
            for subscriber in subscribers:
                await eventually(is_exact(subscriber))
            publish(publisher, 0)
            await eventually(lambda: recorder.log == [0, 0])

            tasks[0].cancel()
            await asyncio.wait(tasks[:1])
            publish(publisher, 1)
            await eventually(lambda: recorder.log == [0, 0, 1])
            tasks[1].cancel()
            await asyncio.wait(tasks[1:])


async def test_a_gap_is_closed_by_a_replay(
    background: Background, follow: Follow, recorder: Recorder, publish: Publish, eventually: Eventually
) -> None:
    """Batches that were lost on the way are fetched, and nothing is delivered out of order."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT, channel=Lossy(2, 3, 6)) as publisher:
        background(publisher.serve())
        subscriber = follow(publisher.endpoint, publisher.replay_endpoint)
        await eventually(is_exact(subscriber))
        publish(publisher, 0, 1, 2, 3, 4)
        await eventually(lambda: recorder.log == [0, 1, 2, 3, 4])
        await eventually(is_exact(subscriber))
        publish(publisher, 5, 6, 7)
        await eventually(lambda: recorder.log == [0, 1, 2, 3, 4, 5, 6, 7])
        await eventually(is_exact(subscriber))

        assert subscriber.status.counters.gaps == 2


async def test_a_lost_tail_is_found_by_a_probe(
    background: Background, follow: Follow, recorder: Recorder, publish: Publish, eventually: Eventually
) -> None:
    """The last batches before a silence are missed although no gap shows that they existed."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT, channel=Lossy(1, 2)) as publisher:
        background(publisher.serve())
        subscriber = follow(publisher.endpoint, publisher.replay_endpoint, probe_interval_s=0.05)
        await eventually(is_exact(subscriber))
        publish(publisher, 0, 1, 2)
        await eventually(lambda: recorder.log == [0, 1, 2])
        await eventually(is_exact(subscriber))

        assert subscriber.status.counters.gaps == 1


async def test_a_publisher_that_comes_back_empty_is_followed_anew(
    background: Background, follow: Follow, recorder: Recorder, publish: Publish, eventually: Eventually
) -> None:
    """A new process at the same address counts from 0: the old blocks go, the new ones come."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as old:
        background(old.serve())
        subscriber = follow(old.endpoint, old.replay_endpoint)
        await eventually(is_exact(subscriber))
        publish(old, 0, 1, 2)
        await eventually(lambda: recorder.log == [0, 1, 2])
    await eventually(lambda: subscriber.state is State.BLIND)
    assert not subscriber.status.connected

    async with Publisher(endpoint=old.endpoint, replay_endpoint=old.replay_endpoint) as new:
        background(new.serve())
        publish(new, 100)
        await eventually(lambda: recorder.log == [0, 1, 2, "forgotten", 100])
        await eventually(is_exact(subscriber))
        publish(new, 101)
        await eventually(lambda: recorder.log == [0, 1, 2, "forgotten", 100, 101])

        assert subscriber.status.counters.restarts == 1


async def test_a_publisher_that_restarts_in_place_is_followed_anew(
    background: Background, follow: Follow, recorder: Recorder, publish: Publish, eventually: Eventually
) -> None:
    """Numbers that begin again without a broken connection mean a restart, too."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        background(publisher.serve())
        subscriber = follow(publisher.endpoint, publisher.replay_endpoint)
        await eventually(is_exact(subscriber))
        publish(publisher, 0, 1, 2)
        await eventually(lambda: recorder.log == [0, 1, 2])
        publisher.restart()
        publish(publisher, 100, 101)
        await eventually(lambda: recorder.log == [0, 1, 2, "forgotten", 100, 101])
        await eventually(is_exact(subscriber))


async def test_a_long_history_comes_through_a_slow_path(
    background: Background, follow: Follow, recorder: Recorder
) -> None:
    """A publisher that drops what its queue has no room for is asked again, and nothing is forgotten."""
    batches = 3_000
    padded = msgpack.packb([1.0, [["AllBlocksCleared", bytes(16_000)]]])
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        for _ in range(batches):
            publisher.publish(padded)
        background(publisher.serve())
        port = int((publisher.replay_endpoint or "").rpartition(":")[2])
        with FaultProxy() as proxy:
            listener = proxy.listen("127.0.0.1", 0, ("127.0.0.1", port), Rules(bytes_per_s=40e6))
            address = f"tcp://127.0.0.1:{listener.port}"
            subscriber = follow(publisher.endpoint, address, replay_idle_timeout_s=5)
            async with asyncio.timeout(60):
                while subscriber.state is not State.EXACT:  # noqa: ASYNC110 - nothing signals it
                    await asyncio.sleep(0.01)

    assert recorder.log == [1] * batches
    assert subscriber.status.counters.replays > 2, "nothing was dropped"
    assert (subscriber.status.counters.truncated, subscriber.status.counters.restarts) == (0, 0)


async def test_lost_history_is_not_hidden(
    background: Background, follow: Follow, recorder: Recorder, publish: Publish, eventually: Eventually
) -> None:
    """A ring that no longer holds what is wanted makes the source DEGRADED, and live batches go on."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT, buffer_steps=2) as publisher:
        background(publisher.serve())
        publish(publisher, 0, 1, 2, 3, 4)
        subscriber = follow(publisher.endpoint, publisher.replay_endpoint)
        await eventually(is_degraded(subscriber))
        publish(publisher, 5)
        await eventually(lambda: recorder.log == [3, 4, 5])

        assert (subscriber.state, subscriber.status.counters.truncated) == (State.DEGRADED, 1)
        assert "before frame 3" in subscriber.status.reason


async def test_a_clear_makes_up_for_lost_history(
    background: Background, follow: Follow, publish: Publish, eventually: Eventually
) -> None:
    """When the engine empties its cache, what the ring had lost is of no interest any more."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT, buffer_steps=2) as publisher:
        background(publisher.serve())
        publish(publisher, 0, 1, 2, 3, 4)
        subscriber = follow(publisher.endpoint, publisher.replay_endpoint)
        await eventually(is_degraded(subscriber))
        publisher.publish(encode(EventBatch(ts=5.0, events=(AllBlocksCleared(),))))
        await eventually(is_exact(subscriber))

        assert (subscriber.status.last, subscriber.status.reason) == (5, "")


async def test_without_a_replay_endpoint_live_batches_are_served(
    follow: Follow, recorder: Recorder, publish: Publish, eventually: Eventually
) -> None:
    """An engine that repeats nothing is DEGRADED, for its history is unknown, but followed."""
    async with Publisher(endpoint=ANY_PORT) as publisher:
        publish(publisher, 0, 1)
        subscriber = follow(publisher.endpoint, None)
        await eventually(is_degraded(subscriber))
        publish(publisher, 2, 3)
        await eventually(lambda: recorder.log == [2, 3])

        assert "no replay endpoint" in subscriber.status.reason
        assert subscriber.status.counters == Counters()


async def test_a_broken_connection_loses_nothing(
    background: Background, follow: Follow, recorder: Recorder, publish: Publish, eventually: Eventually
) -> None:
    """What is published while the connection is down comes by replay, after what was known before."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        background(publisher.serve())
        port = int(publisher.endpoint.rpartition(":")[2])
        with FaultProxy() as proxy:
            listener = proxy.listen("127.0.0.1", 0, ("127.0.0.1", port))
            # The proxy may pass the subscription on late; a probe finds what that loses.
            address = f"tcp://127.0.0.1:{listener.port}"
            subscriber = follow(address, publisher.replay_endpoint, probe_interval_s=0.1)
            await eventually(is_exact(subscriber))
            publish(publisher, 0)
            await eventually(lambda: recorder.log == [0])

            listener.retarget(("127.0.0.1", 9))
            listener.cut()
            await eventually(lambda: subscriber.state is State.BLIND)
            publish(publisher, 1, 2)
            listener.retarget(("127.0.0.1", port))
            await eventually(is_exact(subscriber))
            publish(publisher, 3)
            await eventually(lambda: recorder.log == [0, 1, 2, 3])


async def test_what_arrived_before_the_end_is_used(
    follow: Follow, recorder: Recorder, publish: Publish, eventually: Eventually
) -> None:
    """Batches that are still queued when the connection breaks are delivered before the source is BLIND."""
    async with Publisher(endpoint=ANY_PORT) as publisher:
        subscriber = follow(publisher.endpoint, None, turn_s=1e-9)
        await eventually(is_degraded(subscriber))
        hundred = recorder.holds(100)
        publish(publisher, *range(400))
        async with asyncio.timeout(5):
            await hundred.wait()
        assert len(recorder.log) < 400
    await eventually(lambda: subscriber.state is State.BLIND)

    assert recorder.log == list(range(400))


async def test_a_peer_that_fell_silent_is_noticed(
    background: Background, follow: Follow, eventually: Eventually
) -> None:
    """A connection that stays open but answers no heartbeat counts as lost until it answers again."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        background(publisher.serve())
        port = int(publisher.endpoint.rpartition(":")[2])
        with FaultProxy() as proxy:
            listener = proxy.listen("127.0.0.1", 0, ("127.0.0.1", port))
            subscriber = follow(
                f"tcp://127.0.0.1:{listener.port}", publisher.replay_endpoint, heartbeat_s=0.1
            )
            await eventually(is_exact(subscriber))
            listener.apply(SILENT)
            await eventually(lambda: subscriber.state is State.BLIND)
            listener.apply(CLEAR)
            await eventually(is_exact(subscriber))


@pytest.mark.parametrize("shared", [True, False], ids=["shared context", "own context"])
async def test_cancelling_closes_everything_at_once(follow: Follow, recorder: Recorder, shared: bool) -> None:
    """A subscriber in the middle of trying to connect and to replay ends when it is told to."""
    with open_context() as context:
        subscriber = Subscriber(
            Source("pod", "model"),
            endpoint="tcp://127.0.0.1:9",
            replay_endpoint="tcp://127.0.0.1:9",
            sink=recorder,
            context=context if shared else None,
        )
        task = asyncio.create_task(subscriber.run())
        await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(asyncio.CancelledError):
                await task


@pytest.mark.parametrize("endpoint", ["127.0.0.1:5557", "tcp://127.0.0.1", "carrier://pigeon"])
async def test_an_impossible_endpoint_is_a_configuration_error(recorder: Recorder, endpoint: str) -> None:
    """An address to which no socket can connect, ever, is not retried in silence."""
    subscriber = Subscriber(Source("pod", "model"), endpoint=endpoint, replay_endpoint=None, sink=recorder)

    with pytest.raises(ConfigError, match=f"cannot connect to {endpoint}"):
        await subscriber.run()


async def test_sources_whose_connections_break_as_they_end_do_not_hold_up_the_others(
    background: Background, recorder: Recorder, eventually: Eventually
) -> None:
    """Whatever libzmq reports while a source is given up, those that share its context can connect."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        background(publisher.serve())
        port = int(publisher.endpoint.rpartition(":")[2])
        with FaultProxy() as proxy, open_context() as context:
            listener = proxy.listen("127.0.0.1", 0, ("127.0.0.1", port))
            for _ in range(20):
                subscribers = [
                    Subscriber(
                        Source(f"pod-{number}", "model"),
                        endpoint=f"tcp://127.0.0.1:{listener.port}",
                        replay_endpoint=publisher.replay_endpoint,
                        sink=recorder,
                        context=context,
                    )
                    for number in range(20)
                ]
                following = [asyncio.create_task(subscriber.run()) for subscriber in subscribers]
                connected = partial(all_exact, subscribers)
                await eventually(connected)
                breaking = asyncio.create_task(asyncio.to_thread(listener.cut))
                for task in following:
                    await asyncio.sleep(0)
                    task.cancel()
                await asyncio.gather(breaking, *following, return_exceptions=True)


def all_exact(subscribers: Sequence[Subscriber]) -> bool:
    """Say whether all of them have the whole history."""
    return all(subscriber.state is State.EXACT for subscriber in subscribers)
