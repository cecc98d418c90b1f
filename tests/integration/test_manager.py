"""The event manager with real publishers: the index follows pods as they come, move, fail and go."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from kvsync.codec import encode
from kvsync.config import SubscriberOptions
from kvsync.discovery import StaticDiscovery
from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, Event, EventBatch, Source
from kvsync.hashing import block_hashes
from kvsync.index import Applied, PrefixIndex
from kvsync.manager import EventManager
from kvsync.pods import Pod
from kvsync.publisher import Publisher
from kvsync.sequence import State
from kvsync.testing.clusters.local.addresses import LoopbackBlock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.conftest import Background, Eventually

BLOCK_SIZE = 2
QUICK = SubscriberOptions(reconnect_s=0.02, reconnect_max_s=0.05, probe_interval_s=60, retry_s=0.05)


class Pods:
    """A discovery whose list the test sets."""

    problem = "as the test says"

    def __init__(self, *pods: Pod) -> None:
        self._lists: asyncio.Queue[tuple[Pod, ...]] = asyncio.Queue()
        self.set(*pods)

    def set(self, *pods: Pod) -> None:
        """These are the pods from now on."""
        self._lists.put_nowait(pods)

    async def watch(self) -> AsyncIterator[tuple[Pod, ...]]:
        """Every list."""
        while True:
            yield await self._lists.get()


def publisher() -> Publisher:
    """An engine's publisher, on free ports."""
    return Publisher(endpoint="tcp://127.0.0.1:*", replay_endpoint="tcp://127.0.0.1:*")


def pod(name: str, engine: Publisher) -> Pod:
    """The pod of that engine."""
    event_port, replay_port = (
        int(endpoint.rpartition(":")[2]) for endpoint in (engine.endpoint, engine.replay_endpoint or "")
    )
    return Pod(name=name, model="m", host="127.0.0.1", event_port=event_port, replay_port=replay_port)


def stored(first: int, count: int = 1, parent: int | None = None) -> BlockStored:
    """Blocks with the given engine hashes, each with tokens of its own."""
    return BlockStored(
        block_hashes=tuple(range(first, first + count)),
        parent_block_hash=parent,
        token_ids=tuple(range(BLOCK_SIZE * first, BLOCK_SIZE * (first + count))),
        block_size=BLOCK_SIZE,
    )


def publish(engine: Publisher, *events: Event) -> None:
    """Publish the events of one step."""
    engine.publish(encode(EventBatch(ts=1.0, events=events)))


async def test_events_become_matches(background: Background, eventually: Eventually) -> None:
    """Blocks that are stored, removed and cleared on one pod are matched for that pod only."""
    async with publisher() as a, publisher() as b:
        background(a.serve())
        background(b.serve())
        index = PrefixIndex(BLOCK_SIZE)
        manager = EventManager(index, StaticDiscovery([pod("a", a), pod("b", b)]), QUICK)
        background(manager.run())
        prompt = block_hashes(range(200, 206), BLOCK_SIZE)
        publish(a, stored(100, 3))
        publish(b, stored(100, 3))
        await eventually(lambda: index.match("m", "", prompt) == {"a": 3, "b": 3})
        publish(a, BlockRemoved(block_hashes=(102,)))
        await eventually(lambda: index.match("m", "", prompt) == {"a": 2, "b": 3})
        publish(b, AllBlocksCleared())
        await eventually(lambda: index.match("m", "", prompt) == {"a": 2})

        await eventually(lambda: manager.state("a") is State.EXACT)
        assert manager.events == {
            ("a", "stored"): 1,
            ("b", "stored"): 1,
            ("a", "removed"): 1,
            ("b", "cleared"): 1,
        }
        assert manager.applied == {
            ("a", "stored"): 3,
            ("a", "removed"): 1,
            ("b", "stored"): 3,
            ("b", "removed"): 3,
        }
        assert [status.source for status in manager.statuses()] == [Source("a", "m"), Source("b", "m")]


async def test_blocks_wait_for_their_parent(background: Background, eventually: Eventually) -> None:
    """Two blocks on an unknown parent 9999 match nothing until that parent is stored."""
    async with publisher() as engine:
        background(engine.serve())
        index = PrefixIndex(BLOCK_SIZE)
        background(EventManager(index, StaticDiscovery([pod("a", engine)]), QUICK).run())
        source = Source("a", "m")
        publish(engine, stored(1001, 2, parent=9999))
        await eventually(lambda: index.orphans(source) == 2)
        assert index.size(source) == 0
        publish(engine, stored(9999))
        await eventually(lambda: index.size(source) == 3)

        prompt = block_hashes([19998, 19999, 2002, 2003, 2004, 2005], BLOCK_SIZE)
        assert index.match("m", "", prompt) == {"a": 3}


async def test_many_pods_are_followed_at_once(background: Background, eventually: Eventually) -> None:
    """Ten pods with a hundred events each make a thousand blocks, each with its own pod."""
    index = PrefixIndex(BLOCK_SIZE)
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(publisher()) for _ in range(10)]
        for engine in engines:
            background(engine.serve())
        pods = [pod(f"pod-{number}", engine) for number, engine in enumerate(engines)]
        manager = EventManager(index, StaticDiscovery(pods), QUICK)
        background(manager.run())
        for number in range(100):
            for engine in engines:
                publish(engine, stored(number))
        await eventually(lambda: index.blocks_total == 1000)
        await eventually(lambda: {status.state for status in manager.statuses()} == {State.EXACT})

    assert [index.size(source) for source in index.sources()] == [100] * 10


async def test_a_pod_that_is_deleted_is_forgotten(background: Background, eventually: Eventually) -> None:
    """What only that pod held is gone with it, its counters too; the other pod is left alone."""
    async with publisher() as a, publisher() as b:
        background(a.serve())
        background(b.serve())
        index, here, there = PrefixIndex(BLOCK_SIZE), pod("a", a), pod("b", b)
        discovery = Pods(here, there)
        manager = EventManager(index, discovery, QUICK)
        background(manager.run())
        publish(a, stored(1))
        publish(b, stored(2))
        await eventually(lambda: index.blocks_total == 2)
        discovery.set(there)
        await eventually(lambda: manager.pods == (there,))

        assert index.sources() == [Source("b", "m")]
        await eventually(lambda: (manager.state("a"), manager.state("b")) == (State.BLIND, State.EXACT))
        assert manager.events == {("b", "stored"): 1}
        publish(b, stored(3))
        await eventually(lambda: index.blocks_total == 2)


async def test_a_pod_that_moves_starts_anew(background: Background, eventually: Eventually) -> None:
    """Under a new address a pod is another process: its old blocks go, those of the new one come."""
    async with publisher() as old, publisher() as new:
        background(old.serve())
        background(new.serve())
        index, source = PrefixIndex(BLOCK_SIZE), Source("a", "m")
        discovery = Pods(pod("a", old))
        manager = EventManager(index, discovery, QUICK)
        background(manager.run())
        publish(old, stored(1), stored(2))
        publish(new, stored(3))
        await eventually(lambda: set(index.blocks(source)) == {1, 2})
        discovery.set(pod("a", new))
        await eventually(lambda: set(index.blocks(source)) == {3})
        publish(old, stored(4))
        publish(new, stored(5))
        await eventually(lambda: set(index.blocks(source)) == {3, 5})


async def test_an_engine_that_restarts_loses_its_blocks(
    background: Background, eventually: Eventually
) -> None:
    """After a restart behind the same address the index holds what the new process stored, nothing else."""
    async with publisher() as engine:
        background(engine.serve())
        index, source = PrefixIndex(BLOCK_SIZE), Source("a", "m")
        manager = EventManager(index, StaticDiscovery([pod("a", engine)]), QUICK)
        background(manager.run())
        publish(engine, stored(1), stored(2))
        await eventually(lambda: set(index.blocks(source)) == {1, 2})
        engine.restart()
        publish(engine, stored(7))
        await eventually(lambda: set(index.blocks(source)) == {7})
        await eventually(lambda: manager.state("a") is State.EXACT)


async def test_each_rank_of_a_pod_is_followed(background: Background, eventually: Eventually) -> None:
    """The ranks of a pod have sources of their own, and the pod is as good as its worst rank."""
    host = LoopbackBlock(os.getpid()).next().host
    several = Pod(name="a", model="m", host=host, event_port=5557, replay_port=5560, dp_size=2)
    first = Publisher(endpoint=several.endpoint(0), replay_endpoint=several.replay_endpoint(0))
    second = Publisher(endpoint=several.endpoint(1), replay_endpoint=several.replay_endpoint(1))
    index = PrefixIndex(BLOCK_SIZE)
    manager = EventManager(index, StaticDiscovery([several]), QUICK)
    background(manager.run())
    async with first:
        background(first.serve())
        publish(first, stored(1))
        await eventually(lambda: index.size(Source("a", "m", 0)) == 1)
        assert manager.state("a") is State.BLIND
        async with second:
            background(second.serve())
            publish(second, stored(2))
            await eventually(lambda: index.size(Source("a", "m", 1)) == 1)
            await eventually(lambda: manager.state("a") is State.EXACT)


async def test_two_pods_at_one_endpoint_are_not_exact(background: Background, eventually: Eventually) -> None:
    """Each would hold the other's blocks, which is said of both until one is gone."""
    async with publisher() as engine:
        background(engine.serve())
        discovery = Pods(pod("a", engine), pod("b", engine))
        manager = EventManager(PrefixIndex(BLOCK_SIZE), discovery, QUICK)
        background(manager.run())
        await eventually(lambda: {status.state for status in manager.statuses()} == {State.DEGRADED})
        reasons = {status.reason for status in manager.statuses()}
        discovery.set(pod("b", engine))
        await eventually(lambda: manager.state("b") is State.EXACT)

        twins = f"a rank 0 and b rank 0 are at the same endpoint, {engine.endpoint}"
        assert reasons == {f"{twins}: give each the port of its own engine"}


async def test_what_the_index_leaves_out_makes_a_source_degraded(
    background: Background, eventually: Eventually
) -> None:
    """It is EXACT again when the engine holds no such block any more; another pod is not concerned."""
    async with publisher() as a, publisher() as b:
        background(a.serve())
        background(b.serve())
        discovery = StaticDiscovery([pod("a", a), pod("b", b)])
        manager = EventManager(PrefixIndex(BLOCK_SIZE, max_blocks_per_source=2), discovery, QUICK)
        background(manager.run())
        publish(a, stored(1, 3))
        publish(b, stored(1, 2))
        await eventually(lambda: (manager.state("a"), manager.state("b")) == (State.DEGRADED, State.EXACT))
        assert manager.left_out(Source("a", "m")) == {"dropped": 1}
        assert "beyond what the index keeps" in manager.statuses()[0].reason
        publish(a, BlockRemoved(block_hashes=(3,)))
        await eventually(lambda: manager.state("a") is State.EXACT)
        publish(a, stored(3))
        await eventually(lambda: manager.state("a") is State.DEGRADED)
        a.restart()
        publish(a, stored(7))
        await eventually(lambda: manager.state("a") is State.EXACT)
        assert manager.left_out(Source("a", "m")) == {}


class Stumbling(PrefixIndex):
    """An index that fails once, at a given event."""

    def __init__(self, stone: Event) -> None:
        super().__init__(BLOCK_SIZE)
        self.stones = [stone]
        self.apply_payloads = lambda source, payloads: None  # so that every event comes by here

    def apply_batch(self, source: Source, events: Sequence[Event]) -> list[Applied]:
        """Fail, if this event is among them."""
        for stone in [each for each in self.stones if each in events]:
            self.stones.remove(stone)
            raise RuntimeError("stumbled")
        return super().apply_batch(source, events)


async def test_a_subscriber_that_fails_disturbs_no_other(
    background: Background, eventually: Eventually
) -> None:
    """A fault of ours makes one source BLIND with its reason, and it is followed anew after a pause."""
    async with publisher() as good, publisher() as bad:
        background(good.serve())
        background(bad.serve())
        index = Stumbling(stored(2))
        pods = [pod("good", good), pod("bad", bad)]
        manager = EventManager(index, StaticDiscovery(pods), QUICK)
        background(manager.run())
        publish(bad, stored(1))
        publish(bad, stored(2))
        reason = "the subscriber failed: stumbled"
        await eventually(lambda: reason in [status.reason for status in manager.statuses()])
        assert (manager.state("bad"), index.sources()) == (State.BLIND, [])
        publish(good, stored(1))
        await eventually(lambda: (index.size(Source("good", "m")), index.size(Source("bad", "m"))) == (1, 2))
        await eventually(lambda: {status.state for status in manager.statuses()} == {State.EXACT})


async def test_an_impossible_address_disturbs_no_other(
    background: Background, eventually: Eventually
) -> None:
    """A pod to which no socket can connect is BLIND with the reason; the others are followed."""
    async with publisher() as good:
        background(good.serve())
        index = PrefixIndex(BLOCK_SIZE)
        manager = EventManager(
            index, StaticDiscovery([Pod(name="bad", model="m", host="a//b"), pod("good", good)]), QUICK
        )
        background(manager.run())
        publish(good, stored(1))
        await eventually(lambda: index.blocks_total == 1)
        await eventually(lambda: "cannot connect to tcp://a//b:5557" in manager.statuses()[0].reason)

        await eventually(lambda: (manager.state("good"), manager.state("bad")) == (State.EXACT, State.BLIND))


async def test_pods_are_known_without_following_events(
    background: Background, eventually: Eventually
) -> None:
    """With events switched off the list of pods is kept up to date and every source is BLIND."""
    here = Pod(name="a", model="m", host="127.0.0.1")
    manager = EventManager(PrefixIndex(), Pods(here), QUICK, subscribe=False)
    background(manager.run())
    await eventually(lambda: manager.pods == (here,))

    assert (manager.statuses(), manager.state("a"), manager.problem) == ((), State.BLIND, "as the test says")


async def test_another_manager_goes_on_from_snapshots(background: Background, eventually: Eventually) -> None:
    """What its publisher proves is restored; what is elsewhere now, or is not listed, is left."""
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(publisher()) for _ in range(3)]
        for engine in engines:
            background(engine.serve())
        kept, moved, gone = (pod(name, engine) for name, engine in zip("abc", engines, strict=True))
        before = EventManager(PrefixIndex(BLOCK_SIZE), Pods(kept, moved, gone), QUICK)
        task = background(before.run())
        for engine in engines:
            publish(engine, stored(1, 3))
        await eventually(lambda: set(before.progress().values()) == {1})
        snapshots = {source: before.snapshot(source) for source in before.progress()}
        task.cancel()

        index = PrefixIndex(BLOCK_SIZE)
        after = EventManager(index, Pods(kept, replace(moved, host="localhost")), QUICK, claim_s=0.05)
        after.remember({source: each for source, each in snapshots.items() if each})
        background(after.run())
        await eventually(lambda: after.snapshots == {"restored": 1, "unfit": 1, "unclaimed": 1})
        publish(engines[0], stored(4, parent=3))
        publish(engines[1], stored(4, parent=3))

        await eventually(lambda: [index.size(source) for source in sorted(index.sources())] == [4, 4])
        assert after.events["a", "stored"] == 1, "of the first, only what came later was applied"
        assert after.events["b", "stored"] == 2
        assert after.state("a") is State.EXACT
