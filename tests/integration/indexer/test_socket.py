"""An indexer answers on a local socket as it would in the same process, and outlives who asks."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from array import array
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from kvsync.codec import encode
from kvsync.config import GatewayConfig
from kvsync.errors import ConfigError, IndexerError
from kvsync.events import BlockRemoved, BlockStored, EventBatch
from kvsync.gateway.load import RunningRequests
from kvsync.index import Prompt
from kvsync.indexer.address import listen, place_of
from kvsync.indexer.link import IndexerLink
from kvsync.indexer.local import FollowingIndexer
from kvsync.indexer.program import event_loop
from kvsync.indexer.remote import START_S, RemoteIndexer
from kvsync.indexer.server import BLOCKS_AT_ONCE, SocketServer
from kvsync.pods import Pod
from kvsync.publisher import Publisher
from kvsync.sequence import State
from kvsync.testing.clusters.local.addresses import LoopbackBlock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.conftest import Background, Eventually

ADDRESSES = LoopbackBlock(f"indexer {os.getpid()}")

TOKENS = array("I", range(1, 41))

PROMPT = Prompt(model="m", tokens=TOKENS)


def stored(tokens: array[int]) -> EventBatch:
    """The blocks of 4 tokens that hold these."""
    hashes = tuple(range(1, len(tokens) // 4 + 1))
    event = BlockStored(
        block_hashes=hashes,
        parent_block_hash=None,
        token_ids=tuple(tokens),
        block_size=4,
        extra_keys=(None,) * len(hashes),
    )
    return EventBatch(ts=1.0, events=(event,))


class Site:
    """An engine's publisher, an indexer that follows it and serves at `address`, and a gateway's end."""

    def __init__(self, address: str) -> None:
        at = ADDRESSES.next()
        self.pod = Pod(
            name="a", model="m", host=at.host, event_port=at.event_port, replay_port=at.replay_port
        )
        self.engine = Publisher(endpoint=self.pod.endpoint(), replay_endpoint=self.pod.replay_endpoint())
        given = {"pods": [self.pod], "indexer": {"mode": "shared", "socket": address, "timeout_s": 20}}
        self.config = GatewayConfig.model_validate(given)
        self.address = address
        self.local = FollowingIndexer(self.config)
        self.remote = RemoteIndexer(self.config, address)

    def serve(self, background: Background) -> None:
        """Begin to follow, to serve and to ask."""
        background(self.local.run())
        background(SocketServer(self.local, listen(self.address), self.address).run())
        background(self.remote.run())

    def publish(self, batch: EventBatch) -> None:
        """Announce what happened."""
        self.engine.publish(encode(batch))

    @property
    def state(self) -> State:
        """What the gateway knows of the pod."""
        return self.remote.standing("a").state


@asynccontextmanager
async def opened(address: str, background: Background) -> AsyncIterator[Site]:
    """A site whose engine answers replays within the block."""
    site = Site(address)
    async with site.engine:
        background(site.engine.serve())
        yield site


@pytest.fixture
def address(socket_folder: Path) -> str:
    """A file to listen at."""
    return str(socket_folder / "indexer.sock")


async def test_answers_are_those_of_the_same_process(
    address: str, background: Background, eventually: Eventually
) -> None:
    """Matches, versions, states, pictures, dumps and snapshots."""
    async with opened(address, background) as site:
        site.serve(background)
        site.publish(stored(TOKENS))
        await eventually(lambda: site.local.picture().blocks_total == len(TOKENS) // 4)
        await eventually(lambda: site.state is State.EXACT)
        (source,) = site.pod.sources

        here, there = await site.local.match(PROMPT), await site.remote.match(PROMPT)
        await site.remote.refresh()

        assert there == here
        assert (there.matched[source].blocks, there.matched[source].cached_tokens) == (10, 36)
        assert site.remote.counts == {"answered": 1}
        theirs, known = (each.picture() for each in (site.remote, site.local))
        assert [each.digest for each in theirs.sources] == [each.digest for each in known.sources]
        assert (theirs.events, theirs.blocks_total) == (known.events, 10)
        dump = await site.remote.dump(source)
        assert dump
        ours = await site.local.dump(source)
        assert ours
        assert (dump.blocks, dump.facts.digest) == (ours.blocks, ours.facts.digest)
        assert [len(each) async for each in site.remote.snapshots()] == [
            len(each) async for each in site.local.snapshots()
        ]


async def test_a_long_dump_comes_in_parts(
    address: str, background: Background, eventually: Eventually
) -> None:
    """All blocks of a source are in it, however many."""
    async with opened(address, background) as site:
        tokens = array("I", range(12 * BLOCKS_AT_ONCE))
        site.serve(background)
        site.publish(stored(tokens))
        await eventually(lambda: site.local.picture().blocks_total == 3 * BLOCKS_AT_ONCE)
        await eventually(lambda: not site.remote.problem)

        dump = await site.remote.dump(site.pod.sources[0])

        assert dump
        assert len(dump.blocks) == dump.facts.digest.blocks == 3 * BLOCKS_AT_ONCE


async def test_removals_are_heard_of_unasked(
    address: str, background: Background, eventually: Eventually
) -> None:
    """They decide whether a prediction is judged, and a request may end without another one beginning."""
    async with opened(address, background) as site:
        site.serve(background)
        site.publish(stored(TOKENS))
        await eventually(lambda: site.state is State.EXACT)
        site.publish(EventBatch(ts=2.0, events=(BlockRemoved(block_hashes=(1,)),)))

        await eventually(lambda: site.remote.standing("a").removals == 1)

        assert (await site.remote.match(PROMPT)).matched == {}


async def test_without_an_indexer_nothing_is_known_until_it_returns(
    address: str, background: Background, eventually: Eventually
) -> None:
    """It says so, asks nobody to wait, and counts on from where the last one was."""
    async with opened(address, background) as site:
        asking = background(site.remote.run())
        assert (await site.remote.match(PROMPT)).matched == {}
        following = background(site.local.run())
        serving = background(SocketServer(site.local, listen(address), address).run())
        site.publish(stored(TOKENS))
        await eventually(lambda: site.state is State.EXACT)
        before = site.remote.standing("a")
        serving.cancel()
        following.cancel()
        await eventually(lambda: site.state is State.BLIND)

        assert (await site.remote.match(PROMPT)).matched == {}
        assert "ended" in site.remote.problem
        assert site.remote.problem in site.remote.picture().sources[0].status.reason

        another = FollowingIndexer(site.config)
        background(another.run())
        background(SocketServer(another, listen(address), address).run())
        await eventually(lambda: site.state is State.EXACT)
        after = site.remote.standing("a")
        assert (await site.remote.match(PROMPT)).version.run == another.version.run
        assert (after.emptied > before.emptied, after.removals > before.removals) == (True, True)
        assert site.remote.counts == {"away": 2, "answered": 1}
        asking.cancel()


async def test_one_that_does_not_answer_in_time_is_away(
    address: str, background: Background, eventually: Eventually
) -> None:
    """A process that was stopped still has its connections accepted by the kernel."""
    async with opened(address, background) as site:
        listener = listen(address)
        background(site.remote.run())

        await eventually(lambda: "no hello" in site.remote.problem)

        assert (await site.remote.match(PROMPT)).matched == {}
        listener.close()


async def test_doubts_are_the_gateways_own(
    address: str, background: Background, eventually: Eventually
) -> None:
    """What a gateway learns from an engine's pages makes a source degraded for it alone."""
    async with opened(address, background) as site:
        site.serve(background)
        await eventually(lambda: site.state is State.EXACT)
        (source,) = site.pod.sources

        site.remote.doubt(source, "dp_size", "it has two ranks")

        assert (site.state, site.local.standing("a").state) == (State.DEGRADED, State.EXACT)
        await site.remote.refresh()
        assert site.remote.picture().sources[0].status.reason == "it has two ranks"
        site.remote.doubt(source, "dp_size", "")
        assert site.state is State.EXACT


async def test_gateways_tell_each_other_what_they_run(
    address: str, background: Background, eventually: Eventually
) -> None:
    """Each knows the others' requests, until these end or their gateway does."""
    async with opened(address, background) as site:
        loads = [RunningRequests() for _ in range(3)]
        gateways = [RemoteIndexer(site.config, address) for _ in loads]
        for gateway, load in zip(gateways, loads, strict=True):
            gateway.share(load)
        background(SocketServer(site.local, listen(address), address).run())
        tasks = [background(gateway.run()) for gateway in gateways]
        one, two, three = loads

        with one.running("a"), three.running("a", 1):
            await eventually(lambda: [each.total("a") for each in loads] == [2, 2, 2])
            assert [each.of("a") for each in loads] == [1, 0, 1]
            assert two.total("a", 1) == 1
            tasks[2].cancel()
            await eventually(lambda: two.total("a") == 1)
        await eventually(lambda: two.total("a") == 0)


async def test_what_is_not_understood_ends_its_own_connection(
    address: str, background: Background, eventually: Eventually
) -> None:
    """A peer that speaks another language is cut off; others are served."""
    async with opened(address, background) as site:
        site.serve(background)
        await eventually(lambda: site.state is State.EXACT)
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.setblocking(False)
            stranger.connect(address)
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")

            def is_closed() -> bool:
                try:
                    return not stranger.recv(65_536)
                except BlockingIOError:
                    return False
                except ConnectionResetError:
                    return True

            await eventually(is_closed)

        await site.remote.match(PROMPT)
        assert site.remote.counts == {"answered": 1}


def test_a_file_that_was_left_behind_is_replaced(address: str) -> None:
    """One that a process listens at is not."""
    with listen(address) as first:
        with pytest.raises(ConfigError, match="another indexer listens there"):
            listen(address)
        first.close()
        listen(address).close()


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """What is no socket was not left behind by an indexer."""
    file = tmp_path / "gateway.yaml"
    file.write_text("pods: []")
    with pytest.raises(ConfigError, match="no socket: choose another path"):
        listen(str(file))
    assert file.read_text() == "pods: []"


async def test_a_question_that_is_not_answered_in_time_makes_all_sources_blind(
    address: str, background: Background, eventually: Eventually
) -> None:
    """At once: the answer to the request that waited says so, too."""
    async with opened(address, background) as site:
        site.serve(background)
        await eventually(lambda: site.state is State.EXACT)
        site.remote._timeout_s = 1e-6

        assert (await site.remote.match(PROMPT)).matched == {}
        assert site.state is State.BLIND
        assert "no answer within" in site.remote.problem


async def test_each_further_run_of_the_indexer_is_a_restart(
    address: str, background: Background, eventually: Eventually
) -> None:
    """Whoever started it; a connection that was made anew is none."""
    async with opened(address, background) as site:
        site.serve(background)
        await eventually(lambda: site.state is State.EXACT)
        site.remote._timeout_s = 1e-6
        await site.remote.match(PROMPT)
        await eventually(lambda: site.state is State.EXACT)
        assert site.remote.restarts == 0

    async with opened(f"{address}2", background) as site:
        asking = background(site.remote.run())
        for count in (0, 1):
            serving = background(
                SocketServer(FollowingIndexer(site.config), listen(site.address), site.address).run()
            )
            await eventually(lambda: not site.remote.problem)
            assert site.remote.restarts == count
            serving.cancel()
            await eventually(lambda: bool(site.remote.problem))
        asking.cancel()


async def test_an_indexer_that_never_was_there_is_missed_in_the_log(
    address: str, background: Background, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and not at once: it may just be starting."""
    async with opened(address, background) as site:
        now = itertools.count(0, START_S / 3)
        remote = RemoteIndexer(site.config, address, clock=lambda: next(now))
        background(remote.run())
        await eventually(lambda: next(now) > 20 * START_S)

    assert caplog.text.count("requests go by load") == 1
    assert f"{address}: No such file" in caplog.text


async def test_a_dump_that_does_not_come_is_not_waited_for(
    address: str, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel accepts in place of a process that was stopped."""
    monkeypatch.setattr("kvsync.indexer.link.PART_S", 0.01)
    async with opened(address, background) as site:
        with listen(address):
            assert await site.remote.dump(site.pod.sources[0]) is None
            with pytest.raises(IndexerError, match="nothing more came"):
                _ = [part async for part in site.remote.snapshots()]


def test_a_name_needs_no_file() -> None:
    """Only one can have it."""
    name = f"@kvsync-test-{os.getpid()}"
    with listen(name), socket.socket(socket.AF_UNIX) as peer:
        peer.connect(place_of(name))
        with pytest.raises(ConfigError, match=name):
            listen(name)


def test_a_question_to_a_connection_that_has_just_ended_is_not_answered(address: str) -> None:
    """uvloop raises errors of its own between the end of a connection and the news of it."""

    async def ask_too_late() -> None:
        site = Site(address)
        serving = asyncio.create_task(SocketServer(site.local, listen(address), address).run())
        link = await IndexerLink.open(address, lambda *_: None)
        link.end()
        await link.lost()
        link.tell("load", [])
        with pytest.raises(IndexerError):
            await link.ask("picture", timeout_s=20)
        serving.cancel()

    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(ask_too_late())
