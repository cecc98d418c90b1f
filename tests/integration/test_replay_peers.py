"""Replay endpoints that are silent, slow or strange: live batches go on and the state tells the truth."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

import pytest
import zmq
import zmq.asyncio

from kvsync.publisher import Publisher
from kvsync.sequence import State
from kvsync.testing.clusters.local.fault_proxy import CLEAR, FaultProxy, Rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Background, Eventually, Follow, Publish, Recorder

ANY_PORT = "tcp://127.0.0.1:*"
END = b"\xff" * 8
NO_FRAME = 2**63 - 1
Frames = tuple[bytes, ...]


def number(value: int) -> bytes:
    """A sequence as it is on the wire."""
    return value.to_bytes(8, "big")


class ReplayPeer:
    """A replay endpoint that answers as the test says."""

    async def __aenter__(self) -> Self:
        self._context = zmq.asyncio.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self.endpoint = f"tcp://127.0.0.1:{self._router.bind_to_random_port('tcp://127.0.0.1')}"
        self.requests: list[int] = []
        return self

    async def __aexit__(self, *_: object) -> None:
        self._context.destroy(linger=0)

    async def asked(self) -> bytes:
        """Wait for a request for frames; gives who asked. One for an end marker alone is never answered."""
        start = NO_FRAME
        while start == NO_FRAME:
            identity, _, wanted = await self._router.recv_multipart()
            start = int.from_bytes(wanted, "big")
        self.requests.append(start)
        return bytes(identity)

    async def pinged(self) -> bytes:
        """Wait for a request for an end marker alone; gives who asked."""
        identity, _, wanted = await self._router.recv_multipart()
        assert wanted == number(NO_FRAME)
        return bytes(identity)

    async def answer(self, identity: bytes, *messages: Frames) -> None:
        """Send messages to who asked."""
        for frames in messages:
            await self._router.send_multipart([identity, *frames])

    async def always(self, *messages: Frames) -> None:
        """Answer every request alike."""
        while True:
            await self.answer(await self.asked(), *messages)


@pytest.mark.parametrize(
    ("answers", "reason", "errors"),
    [
        ([], "no answer from the replay endpoint for 0.8 s", {}),
        ([(b"OK",)], "the replay endpoint answered something else", {"replay_frames": 4}),
        ([(b"", b"OK")], "the replay endpoint answered something else", {"replay_frames": 4}),
        ([(b"",) * 100], "the replay endpoint answered something else", {"replay_frames": 4}),
        ([(b"", b"123456789", b"")], "the replay endpoint answered something else", {"sequence": 4}),
    ],
    ids=["silence", "one frame", "two frames", "many frames", "long number"],
)
async def test_a_replay_endpoint_without_a_replay(
    background: Background,
    follow: Follow,
    recorder: Recorder,
    publish: Publish,
    eventually: Eventually,
    answers: list[Frames],
    reason: str,
    errors: dict[str, int],
) -> None:
    """After a few attempts the source is served on live batches, DEGRADED, with what went wrong."""
    async with Publisher(endpoint=ANY_PORT) as publisher, ReplayPeer() as peer:
        background(peer.always(*answers))
        # On a busy machine an answer may take long, but silence has to end soon.
        idle_s = 5.0 if answers else 0.1
        subscriber = follow(publisher.endpoint, peer.endpoint, replay_idle_timeout_s=idle_s)
        await eventually(lambda: subscriber.state is State.DEGRADED)
        publish(publisher, 0, 1)
        await eventually(lambda: recorder.log == [0, 1])

        assert reason in subscriber.status.reason
        assert dict(subscriber.status.errors) == errors
        assert (subscriber.status.counters.replay_failures, set(peer.requests)) == (4, {0})


async def test_a_replay_without_an_end_is_not_trusted(
    background: Background,
    follow: Follow,
    recorder: Recorder,
    numbered: Callable[[int], bytes],
    eventually: Eventually,
) -> None:
    """What came is used, once; the source is not called EXACT, because more may be missing."""
    async with Publisher(endpoint=ANY_PORT) as publisher, ReplayPeer() as peer:
        background(peer.always((b"", number(0), numbered(0)), (b"", number(1), numbered(1))))
        subscriber = follow(publisher.endpoint, peer.endpoint)
        await eventually(lambda: subscriber.state is State.DEGRADED)

        assert recorder.log == [0, 1]
        assert "no answer from the replay endpoint" in subscriber.status.reason


async def test_a_replay_that_lost_its_end_is_asked_for_it(
    background: Background,
    follow: Follow,
    recorder: Recorder,
    numbered: Callable[[int], bytes],
    eventually: Eventually,
) -> None:
    """A marker asked for alone ends the answer, whose missing frames are asked for; nothing is forgotten."""
    ring = [(b"", number(n), numbered(n)) for n in range(6)]
    async with Publisher(endpoint=ANY_PORT) as publisher, ReplayPeer() as peer:
        subscriber = follow(publisher.endpoint, peer.endpoint, replay_idle_timeout_s=5)
        await peer.answer(await peer.asked(), ring[0], ring[1], ring[4])
        await peer.answer(await peer.pinged(), (b"", END, b""))
        await peer.answer(await peer.asked(), *ring[1:], (b"", END, b""))
        await eventually(lambda: subscriber.state is State.EXACT)

        assert (peer.requests, recorder.log) == ([0, 1], [0, 1, 2, 3, 4, 5])
        assert subscriber.status.counters.replay_failures == 0


async def test_a_replay_endpoint_that_comes_late_is_tried_again(
    background: Background,
    follow: Follow,
    recorder: Recorder,
    publish: Publish,
    eventually: Eventually,
) -> None:
    """Until the time is over in which it may be silent, a refused connection is not a failure."""
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        publish(publisher, 0)
        background(publisher.serve())
        with FaultProxy() as proxy:
            port = int((publisher.replay_endpoint or "").rpartition(":")[2])
            listener = proxy.listen("127.0.0.1", 0, ("127.0.0.1", port), Rules(refuse=False))
            listener.apply(Rules(refuse=True))
            address = f"tcp://127.0.0.1:{listener.port}"
            subscriber = follow(publisher.endpoint, address, replay_idle_timeout_s=5)
            await eventually(lambda: subscriber.state is State.CATCHING_UP)
            listener.apply(CLEAR)
            await eventually(lambda: subscriber.state is State.EXACT)

        assert recorder.log == [0]
        assert subscriber.status.counters.replay_failures == 0


async def test_a_publisher_that_is_slow_to_answer_is_given_time(
    background: Background,
    follow: Follow,
    recorder: Recorder,
    numbered: Callable[[int], bytes],
    eventually: Eventually,
) -> None:
    """It answers one request after the other, those that were given up as well: fewer are made each time."""
    async with Publisher(endpoint=ANY_PORT) as publisher, ReplayPeer() as peer:

        async def slowly() -> None:
            while True:
                identity = await peer.asked()
                await asyncio.sleep(0.25)
                await peer.answer(identity, (b"", number(0), numbered(0)), (b"", END, b""))

        background(slowly())
        subscriber = follow(publisher.endpoint, peer.endpoint, replay_idle_timeout_s=0.1)
        await eventually(lambda: subscriber.state is State.EXACT)

        assert recorder.log == [0]


async def test_a_replay_that_goes_on_forever_is_ended(
    background: Background,
    follow: Follow,
    recorder: Recorder,
    numbered: Callable[[int], bytes],
    eventually: Eventually,
) -> None:
    """A peer that has one more batch for ever is cut off after the total time."""
    async with Publisher(endpoint=ANY_PORT) as publisher, ReplayPeer() as peer:

        async def babble() -> None:
            identity = await peer.asked()
            for value in range(1_000_000):
                await peer.answer(identity, (b"", number(value), numbered(value)))
                await asyncio.sleep(0.001)

        babbling = background(babble())
        subscriber = follow(
            publisher.endpoint, peer.endpoint, replay_idle_timeout_s=5, replay_total_timeout_s=0.1
        )
        await eventually(lambda: subscriber.status.counters.replay_failures == 1)
        babbling.cancel()

        assert recorder.log[:3] == [0, 1, 2]


async def test_live_batches_wait_for_a_slow_replay(
    background: Background,
    follow: Follow,
    recorder: Recorder,
    publish: Publish,
    numbered: Callable[[int], bytes],
    eventually: Eventually,
) -> None:
    """What is published while history is on its way is delivered after it, in order, once."""
    async with Publisher(endpoint=ANY_PORT) as publisher, ReplayPeer() as peer:
        publish(publisher, 0, 1)
        subscriber = follow(publisher.endpoint, peer.endpoint, replay_idle_timeout_s=5)
        identity = await peer.asked()
        publish(publisher, 2, 3)
        await eventually(lambda: subscriber.status.live == 3)
        await peer.answer(identity, (b"", number(0), numbered(0)))
        await eventually(lambda: recorder.log == [0])
        publish(publisher, 4)
        await eventually(lambda: subscriber.status.live == 4)
        assert (subscriber.state, subscriber.status.lag_batches) == (State.CATCHING_UP, 4)
        await peer.answer(identity, *((b"", number(n), numbered(n)) for n in (1, 2)), (b"", END, b""))
        await eventually(lambda: subscriber.state is State.EXACT)

        assert recorder.log == [0, 1, 2, 3, 4]
        assert (subscriber.status.counters.gaps, subscriber.status.counters.duplicates) == (0, 0)


async def test_a_later_replay_starts_at_what_is_known(
    background: Background,
    follow: Follow,
    recorder: Recorder,
    numbered: Callable[[int], bytes],
    eventually: Eventually,
) -> None:
    """Only the last batch that a replay confirmed is asked for again, not the whole history."""
    async with Publisher(endpoint=ANY_PORT) as publisher, ReplayPeer() as peer:
        frames = [(b"", number(n), numbered(n)) for n in range(4)]
        subscriber = follow(publisher.endpoint, peer.endpoint, replay_idle_timeout_s=5)
        await peer.answer(await peer.asked(), *frames[:2], (b"", END, b""))
        await eventually(lambda: subscriber.state is State.EXACT)
        publisher.send_now(frames[3])
        await peer.answer(await peer.asked(), *frames[1:], (b"", END, b""))
        await eventually(lambda: subscriber.state is State.EXACT)

        assert (peer.requests, recorder.log) == ([0, 1], [0, 1, 2, 3])


async def test_answers_to_an_earlier_request_do_not_mix_in(
    background: Background,
    follow: Follow,
    recorder: Recorder,
    publish: Publish,
    numbered: Callable[[int], bytes],
    eventually: Eventually,
) -> None:
    """The answer of a peer whose time was over is not read."""
    async with Publisher(endpoint=ANY_PORT) as publisher, ReplayPeer() as peer:
        subscriber = follow(publisher.endpoint, peer.endpoint)
        late = await peer.asked()
        in_time = await peer.asked()
        await peer.answer(late, (b"", number(0), numbered(666)), (b"", END, b""))
        await peer.answer(in_time, (b"", number(0), numbered(0)), (b"", END, b""))
        await eventually(lambda: subscriber.state is State.EXACT)

        assert recorder.log == [0]
