"""The publisher on the wire, seen by plain ZeroMQ sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

import psutil
import pytest
import zmq
import zmq.asyncio

from kvsync.errors import ConfigError, PortInUse
from kvsync.publisher import Frames, Publisher, ReplayLayout

Background = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]

ANY_PORT = "tcp://127.0.0.1:*"
END = b"\xff" * 8


def number(value: int) -> bytes:
    """A sequence as it is on the wire."""
    return value.to_bytes(8, "big")


@pytest.fixture
async def context() -> AsyncIterator[zmq.asyncio.Context]:
    """Sockets of a peer, closed after the test."""
    with zmq.asyncio.Context() as context:
        yield context
        context.destroy(linger=0)


async def subscribed(context: zmq.asyncio.Context, publisher: Publisher) -> zmq.asyncio.Socket:
    """A SUB socket whose subscription the publisher knows: it was sent a first message."""
    subscriber = context.socket(zmq.SUB)
    subscriber.subscribe(b"")
    subscriber.connect(publisher.endpoint)
    while not await subscriber.poll(5):
        publisher.send_now((b"hello", b"", b""))
    while await subscriber.poll(0):
        await subscriber.recv_multipart()
    return subscriber


async def asking(context: zmq.asyncio.Context, publisher: Publisher, *request: bytes) -> zmq.asyncio.Socket:
    """A DEALER that has sent a request."""
    dealer = context.socket(zmq.DEALER)
    dealer.connect(publisher.replay_endpoint or "")
    await dealer.send_multipart(request)
    return dealer


async def answers(dealer: zmq.asyncio.Socket) -> list[list[bytes]]:
    """Everything the DEALER is sent, up to the end marker; it is closed then."""
    taken: list[list[bytes]] = []
    with dealer:
        async with asyncio.timeout(5):
            while not taken or END not in taken[-1]:
                taken.append(await dealer.recv_multipart())
    return taken


async def replayed(context: zmq.asyncio.Context, publisher: Publisher, *request: bytes) -> list[list[bytes]]:
    """The answers to one request."""
    return await answers(await asking(context, publisher, *request))


async def test_a_live_message_has_three_frames(context: zmq.asyncio.Context) -> None:
    """Topic, number from 0 as eight big-endian bytes, payload as given."""
    async with Publisher(endpoint=ANY_PORT, topic="kv@a@m") as publisher:
        subscriber = await subscribed(context, publisher)

        assert [publisher.publish(b"first"), publisher.publish(b"second")] == [0, 1]
        assert await subscriber.recv_multipart() == [b"kv@a@m", number(0), b"first"]
        assert await subscriber.recv_multipart() == [b"kv@a@m", number(1), b"second"]
        assert publisher.next_sequence == 2


@pytest.mark.parametrize(
    ("layout", "frames"),
    [
        (ReplayLayout.OLD, [[b"", number(1), b"b"], [b"", number(2), b"c"], [b"", END, b""]]),
        (
            ReplayLayout.NEW,
            [[b"", b"t", number(1), b"b"], [b"", b"t", number(2), b"c"], [b"", b"", END, b""]],
        ),
    ],
    ids=["old", "new"],
)
async def test_a_replay_begins_at_the_wanted_number(
    context: zmq.asyncio.Context, background: Background, layout: ReplayLayout, frames: list[list[bytes]]
) -> None:
    """A request is answered with every batch from its number on and an end marker, in either layout."""
    async with Publisher(
        endpoint=ANY_PORT, replay_endpoint=ANY_PORT, topic="t", replay_layout=layout
    ) as publisher:
        for payload in (b"a", b"b", b"c"):
            publisher.publish(payload)
        background(publisher.serve())

        assert await replayed(context, publisher, b"", number(1)) == frames


@pytest.mark.parametrize(
    ("start", "numbers"), [(0, [3, 4, END]), (4, [4, END]), (5, [END]), (99, [END])], ids=str
)
async def test_a_replay_knows_no_more_than_the_ring(
    context: zmq.asyncio.Context, background: Background, start: int, numbers: list[int | bytes]
) -> None:
    """A request for older batches than the ring holds silently begins at its oldest one."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT, buffer_steps=2) as publisher:
        for _ in range(5):
            publisher.publish(b"x")
        background(publisher.serve())

        taken = await replayed(context, publisher, b"", number(start))

    assert [answer[2] for answer in taken] == [n if isinstance(n, bytes) else number(n) for n in numbers]


@pytest.mark.parametrize(
    "request_",
    [[number(0)], [b"", b"short"], [b"", number(0), b"x"], [b"x", number(0)]],
    ids=["1", "short", "3", "x"],
)
async def test_other_requests_are_ignored(
    context: zmq.asyncio.Context, background: Background, request_: list[bytes]
) -> None:
    """A request that is not an empty frame and a number gets no answer, and the next one gets its own."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        publisher.publish(b"x")
        background(publisher.serve())
        dealer = await asking(context, publisher, *request_)
        await dealer.send_multipart([b"", number(1)])

        assert await asyncio.wait_for(dealer.recv_multipart(), 5) == [b"", b"", END, b""]


async def test_a_replay_loses_what_a_slow_peer_has_no_room_for(
    context: zmq.asyncio.Context, background: Background
) -> None:
    """As by vLLM, the first 1000 batches are kept for it, and an end marker asked for later comes behind."""
    context.setsockopt(zmq.RCVHWM, 10)
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        for _ in range(10_000):
            publisher.publish(b"x" * 8_000)
        background(publisher.serve())
        slow = await asking(context, publisher, b"", number(0))
        assert await replayed(context, publisher, b"", number(10_000)) == [[b"", b"", END, b""]]
        taken: list[bytes] = []
        with slow:
            while END not in taken:
                if await slow.poll(50):
                    taken.append((await slow.recv_multipart())[2])
                else:
                    await slow.send_multipart([b"", number(2**63 - 1)])

        assert taken[:1000] == [*map(number, range(1000))]
        assert taken == sorted(set(taken))
        assert len(taken) < 10_000


async def test_a_whole_ring_fits_through_a_replay_without_a_bound(
    context: zmq.asyncio.Context, background: Background
) -> None:
    """A peer that does not read yet misses nothing."""
    context.setsockopt(zmq.RCVHWM, 10)
    async with Publisher(
        endpoint=ANY_PORT, replay_endpoint=ANY_PORT, buffer_steps=4_000, replay_hwm=0
    ) as publisher:
        for _ in range(4_000):
            publisher.publish(b"x" * 8_000)
        background(publisher.serve())
        slow = await asking(context, publisher, b"", number(0))
        # Requests are answered one after the other, so the slow peer's is done when this one is.
        assert await replayed(context, publisher, b"", number(4_000)) == [[b"", b"", END, b""]]

        assert [answer[2] for answer in await answers(slow)] == [*map(number, range(4_000)), END]


class EverySecondTwice:
    """A channel that loses even numbers and doubles odd ones."""

    def carry(self, message: Frames) -> Sequence[Frames]:
        """Decide by the last byte of the number."""
        return [message, message] if message[1][-1] % 2 else []


async def test_the_channel_touches_live_messages_only(
    context: zmq.asyncio.Context, background: Background
) -> None:
    """What the channel loses has used up its number and can be replayed."""
    async with Publisher(
        endpoint=ANY_PORT, replay_endpoint=ANY_PORT, channel=EverySecondTwice()
    ) as publisher:
        subscriber = await subscribed(context, publisher)
        background(publisher.serve())
        publisher.publish(b"a")
        publisher.publish(b"b")
        publisher.send_now((b"", number(7), b"late"))

        live = [await subscriber.recv_multipart() for _ in range(3)]
        taken = await replayed(context, publisher, b"", number(0))

    assert live == [[b"", number(1), b"b"], [b"", number(1), b"b"], [b"", number(7), b"late"]]
    assert [answer[3] for answer in taken] == [b"a", b"b", b""]


async def test_a_restart_begins_at_zero_with_an_empty_ring(
    context: zmq.asyncio.Context, background: Background
) -> None:
    """An engine that restarts in place keeps its connections and nothing else."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        subscriber = await subscribed(context, publisher)
        background(publisher.serve())
        publisher.publish(b"old")
        publisher.restart()

        assert await replayed(context, publisher, b"", number(0)) == [[b"", b"", END, b""]]
        assert publisher.publish(b"new") == 0
        assert [await subscriber.recv_multipart() for _ in range(2)] == [
            [b"", number(0), b"old"],
            [b"", number(0), b"new"],
        ]


async def test_a_taken_port_names_its_owner() -> None:
    """Who is already listening is part of the error, and the failed publisher leaves nothing behind."""
    me = psutil.Process()
    async with Publisher(endpoint=ANY_PORT) as publisher:
        with pytest.raises(PortInUse) as raised:
            await Publisher(endpoint=ANY_PORT, replay_endpoint=publisher.endpoint).__aenter__()

    assert raised.value.address == publisher.endpoint
    assert raised.value.owner == f"{me.name()} (pid {me.pid})"


@pytest.mark.parametrize("endpoint", ["tcp://nowhere.invalid:5557", "5557", "tcp://192.0.2.1:5557"])
async def test_an_endpoint_that_cannot_be_bound_is_a_configuration_error(endpoint: str) -> None:
    """A name that does not resolve, no endpoint at all, an address of another machine."""
    with pytest.raises(ConfigError, match=f"cannot bind {endpoint}"):
        await Publisher(endpoint=endpoint).__aenter__()


async def test_after_closing_a_late_message_is_lost() -> None:
    """A channel that delays may come back after the end; that is not an error."""
    async with Publisher(endpoint=ANY_PORT) as publisher:
        pass

    publisher.send_now((b"", number(0), b"late"))
