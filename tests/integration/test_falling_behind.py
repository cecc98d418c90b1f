"""A reader that was stopped while its queue filled up: the process lives, says so, and catches up."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time

import pytest

from kvsync.codec import encode
from kvsync.config import SubscriberOptions
from kvsync.connection import QUEUE
from kvsync.events import BlockStored, EventBatch, Source
from kvsync.publisher import Publisher
from kvsync.sequence import State
from kvsync.subscriber import BEHIND_AFTER_S, Subscriber

ANY_PORT = "tcp://127.0.0.1:*"
BATCHES = QUEUE + QUEUE // 2
HEARTBEAT_S = 1.0  # a busy machine may let libzmq wait for a fraction of it
STOPPED_S = BEHIND_AFTER_S + HEARTBEAT_S
LIMIT_S = 100


class Counting:
    """A sink that counts events."""

    def __init__(self) -> None:
        self.events = 0
        self.forgotten: list[str] = []

    def apply(self, source: Source, batch: EventBatch) -> None:
        """Count them."""
        self.events += len(batch.events)

    def forget(self, source: Source, reason: str) -> None:
        """Note why."""
        self.forgotten.append(reason)


def payload(blocks: int) -> bytes:
    """A batch that announces blocks of 16 tokens."""
    stored = BlockStored(
        block_hashes=tuple(range(blocks)),
        parent_block_hash=None,
        token_ids=tuple(range(16 * blocks)),
        block_size=16,
    )
    return encode(EventBatch(ts=0.0, events=(stored,)))


async def fall_behind(blocks: int) -> dict[str, object]:
    """Stop the reader for more than a heartbeat while its queue overflows; report what it says."""
    sink, seen = Counting(), dict[tuple[str, str, bool], None]()

    async def reached(last: int | None) -> None:
        async with asyncio.timeout(LIMIT_S):
            while (now := subscriber.status).last != last or now.state is not State.EXACT:
                seen[now.state.value, now.reason.partition(",")[0], now.connected] = None
                await asyncio.sleep(0.002)

    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        subscriber = Subscriber(
            Source("pod", "model"),
            endpoint=publisher.endpoint,
            replay_endpoint=publisher.replay_endpoint,
            sink=sink,
            options=SubscriberOptions(heartbeat_s=HEARTBEAT_S),
        )
        tasks = [asyncio.create_task(work) for work in (publisher.serve(), subscriber.run())]
        await reached(None)
        seen.clear()
        batch = payload(blocks)
        for _ in range(BATCHES):
            publisher.publish(batch)
        time.sleep(STOPPED_S)  # noqa: ASYNC251 - the event loop is what is to be stopped
        await reached(BATCHES - 1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return {"seen": list(seen), "events": sink.events, "forgotten": sink.forgotten}


@pytest.mark.parametrize("blocks", [1, 64], ids=["1 block", "64 blocks"])
def test_a_stopped_reader_catches_up(blocks: int) -> None:
    """Its connection stays although no heartbeat can be answered, and nothing is lost or forgotten."""
    done = subprocess.run(
        [sys.executable, __file__, str(blocks)], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "seen": [
            ["exact", "", True],
            ["catching_up", "more events have arrived than were read", True],
        ],
        "events": BATCHES,
        "forgotten": [],
    }


async def test_a_source_that_was_idle_is_not_behind() -> None:
    """What comes after a pause is new, also when reading it takes more than one turn."""
    sink, states = Counting(), set[State]()
    async with Publisher(endpoint=ANY_PORT, replay_endpoint=ANY_PORT) as publisher:
        subscriber = Subscriber(
            Source("pod", "model"),
            endpoint=publisher.endpoint,
            replay_endpoint=publisher.replay_endpoint,
            sink=sink,
            options=SubscriberOptions(turn_s=1e-9),
        )
        tasks = [asyncio.create_task(work) for work in (publisher.serve(), subscriber.run())]
        async with asyncio.timeout(LIMIT_S):
            while subscriber.status.state is not State.EXACT:  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0.002)
            await asyncio.sleep(BEHIND_AFTER_S + 0.2)
            for _ in range(200):
                publisher.publish(payload(1))
            while sink.events < 200:
                states.add(subscriber.status.state)
                await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    assert states == {State.EXACT}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(fall_behind(int(sys.argv[1])))))
