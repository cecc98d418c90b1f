"""Publishers that send garbage: it is counted by reason, and other pods are not affected."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgpack  # type: ignore[import-untyped]  # ships no type information
import pytest

from kvsync.codec import LIMITS
from kvsync.discovery import StaticDiscovery
from kvsync.index import PrefixIndex
from kvsync.manager import EventManager
from kvsync.pods import Pod
from kvsync.publisher import Publisher
from kvsync.sequence import State

if TYPE_CHECKING:
    from tests.integration.conftest import Background, Eventually, Follow, Publish, Recorder

ANY_PORT = "tcp://127.0.0.1:*"


def number(value: int) -> bytes:
    """A sequence as it is on the wire."""
    return value.to_bytes(8, "big")


@pytest.mark.parametrize(
    ("frames", "errors"),
    [
        ([b"x"], {"frames": 1}),
        ([b""], {"frames": 1}),
        ([b"x", b"y"], {"frames": 1}),
        ([b"", number(1)], {"frames": 1}),
        ([b"", number(1), b"payload", b"more"], {"frames": 1}),
        ([b"", number(1), b"payload", b""], {"frames": 1}),
        ([b""] * 5, {"frames": 1}),
        ([b"x"] * 5_000, {"frames": 1}),
        ([b"", b"123456789", b"payload"], {"sequence": 1}),
        ([b"", b"", b""], {"sequence": 1}),
    ],
    ids=["1", "1 empty", "2", "2 good", "4", "4 empty", "5 empty", "5000", "9-byte number", "no number"],
)
@pytest.mark.parametrize("more_follows", [True, False], ids=["at once", "later"])
async def test_messages_of_another_shape_are_passed_over(
    background: Background,
    follow: Follow,
    recorder: Recorder,
    publish: Publish,
    eventually: Eventually,
    frames: list[bytes],
    errors: dict[str, int],
    more_follows: bool,
) -> None:
    """The good messages before and after are delivered without a replay, in the same connection."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        background(publisher.serve())
        subscriber = follow(publisher.endpoint, publisher.replay_endpoint)
        await eventually(lambda: subscriber.state is State.EXACT)
        publish(publisher, 0)
        publisher.send_now(frames)
        if not more_follows:
            await eventually(lambda: dict(subscriber.status.errors) == errors)
        publish(publisher, 1, 2)
        await eventually(lambda: recorder.log == [0, 1, 2])

        status = subscriber.status
        assert (dict(status.errors), status.state, status.counters.replays) == (errors, State.EXACT, 1)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "malformed"),
        (b"\xc1" * 256, "malformed"),
        (b"\xdd\xff\xff\xff\xff", "malformed"),
        (b"\x91" * 1_000_000, "nesting"),
        (msgpack.packb([1.0, [None] * 1_000_000]), "too_many_events"),
        (msgpack.packb({"hello": "world"}), "not_a_batch"),
        (msgpack.packb([1.0, []]) + b"x", "trailing"),
    ],
    ids=["empty", "noise", "claims 4 GiB", "bomb", "a million", "something else", "goes on"],
)
async def test_a_payload_that_cannot_be_read_leaves_a_hole_that_shows(
    background: Background,
    follow: Follow,
    recorder: Recorder,
    publish: Publish,
    eventually: Eventually,
    payload: bytes,
    reason: str,
) -> None:
    """The batches after it are delivered, in the same connection, but the source is not EXACT any more."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        background(publisher.serve())
        subscriber = follow(publisher.endpoint, publisher.replay_endpoint)
        await eventually(lambda: subscriber.state is State.EXACT)
        publish(publisher, 0)
        publisher.publish(payload)
        publish(publisher, 2)
        await eventually(lambda: recorder.log == [0, 2])

        status = subscriber.status
        assert (dict(status.errors), status.last, status.counters.replays) == ({reason: 1}, 2, 1)
        assert (status.state, status.reason) == (State.DEGRADED, "undecodable batch 1")


@pytest.mark.parametrize(
    ("bad", "state", "reason"),
    [
        (["Surprise", 1], State.EXACT, ""),
        (["BlockRemoved", "all"], State.DEGRADED, "unreadable event in batch 1: bad_field"),
    ],
    ids=["unknown kind", "broken"],
)
async def test_an_unreadable_event_is_counted_and_its_batch_is_used(
    background: Background,
    follow: Follow,
    recorder: Recorder,
    publish: Publish,
    eventually: Eventually,
    bad: list[object],
    state: State,
    reason: str,
) -> None:
    """The others of its batch are applied; one that should have been understood makes the source DEGRADED."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        background(publisher.serve())
        subscriber = follow(publisher.endpoint, publisher.replay_endpoint)
        await eventually(lambda: subscriber.state is State.EXACT)
        publish(publisher, 0)
        publisher.publish(msgpack.packb([1.0, [bad, ["AllBlocksCleared"]]]))
        publish(publisher, 2)
        await eventually(lambda: recorder.log == [0, 1, 2])

        status = subscriber.status
        assert (sum(status.errors.values()), status.events) == (1, 3)
        assert (status.state, status.reason) == (state, reason)


async def test_an_oversized_message_costs_the_connection_and_nothing_else(
    background: Background, follow: Follow, recorder: Recorder, publish: Publish, eventually: Eventually
) -> None:
    """libzmq hangs up on a message beyond the limit; after that the source is followed as before."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        background(publisher.serve())
        subscriber = follow(publisher.endpoint, publisher.replay_endpoint)
        await eventually(lambda: subscriber.state is State.EXACT)
        publish(publisher, 0)
        await eventually(lambda: recorder.log == [0])
        publisher.send_now([b"", number(1), bytes(LIMITS.payload_bytes + 1)])
        await eventually(lambda: subscriber.state is State.BLIND)
        await eventually(lambda: subscriber.state is State.EXACT)
        publish(publisher, 1)
        await eventually(lambda: recorder.log == [0, 1])


@pytest.mark.parametrize(
    "greeting",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\xff" * 64],
    ids=["hangs up", "http", "ssh", "noise"],
)
async def test_something_that_is_no_publisher_is_tried_again_with_pauses(
    background: Background,
    follow: Follow,
    recorder: Recorder,
    publish: Publish,
    eventually: Eventually,
    greeting: bytes,
) -> None:
    """The source stays BLIND, connections keep their distance, and a publisher that comes is followed."""
    connections: list[float] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.get_running_loop().time())
        writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        endpoint = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        subscriber = follow(endpoint, None, reconnect_s=0.05, reconnect_max_s=0.05)
        # Each attempt is followed by one or two more connections, to see what listens there.
        await eventually(lambda: len(connections) > 3 * 3)
        assert subscriber.state is State.BLIND
        assert connections[9] - connections[0] > 3 * 0.05 - 0.01

    async with Publisher(endpoint=endpoint) as publisher:
        await eventually(lambda: subscriber.state is State.DEGRADED)
        publish(publisher, 0)
        await eventually(lambda: recorder.log == [0])


async def test_garbage_does_not_fill_the_log(
    background: Background,
    follow: Follow,
    publish: Publish,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A thousand bad messages are all counted, and logged once per interval."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        background(publisher.serve())
        subscriber = follow(publisher.endpoint, publisher.replay_endpoint, log_interval_s=60)
        await eventually(lambda: subscriber.state is State.EXACT)
        with caplog.at_level(logging.WARNING, "kvsync.subscriber"):
            for _ in range(1000):
                publisher.send_now([b"", b"garbage", b""])
            await eventually(lambda: subscriber.status.errors == {"sequence": 1000})

        assert len(caplog.records) == 1


async def test_other_pods_are_not_disturbed(
    background: Background, publish: Publish, eventually: Eventually
) -> None:
    """While one pod floods with garbage, another one's batches are applied and it stays EXACT."""
    async with (
        Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as good,
        Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as bad,
    ):
        background(good.serve())
        background(bad.serve())
        pods = [
            Pod(
                name=name,
                model="model",
                host="127.0.0.1",
                event_port=int(publisher.endpoint.rpartition(":")[2]),
                replay_port=int((publisher.replay_endpoint or "").rpartition(":")[2]),
            )
            for name, publisher in (("good", good), ("bad", bad))
        ]
        manager = EventManager(PrefixIndex(), StaticDiscovery(pods))
        background(manager.run())
        await eventually(lambda: {manager.state("good"), manager.state("bad")} == {State.EXACT})

        publish(bad, 0)
        for _ in range(5_000):
            bad.send_now([b"garbage"])
        bad.publish(b"garbage")
        publish(good, 0, 1, 2)
        await eventually(lambda: manager.events == {("good", "removed"): 3, ("bad", "removed"): 1})
        assert manager.state("good") is State.EXACT
        await eventually(lambda: manager.state("bad") is State.DEGRADED)
