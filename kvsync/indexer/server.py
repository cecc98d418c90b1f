"""Answers gateways on a local socket, from an indexer in this process."""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator
from itertools import islice
from typing import cast

from kvsync.errors import IndexerError
from kvsync.events import Source
from kvsync.indexer import messages
from kvsync.indexer.address import check_user, remove
from kvsync.indexer.local import LocalIndexer
from kvsync.indexer.messages import NEWS, PROTOCOL, Row, message
from kvsync.indexer.values import Place, PodStanding

log = logging.getLogger(__name__)

NEWS_S = 0.01
"""How often gateways hear of standings that changed. With each answer they would cost a third more."""

NEWS_SHARE = 0.02
"""Of the time at most is spent on finding out what has changed: that of a thousand pods takes 2 ms."""

BLOCKS_AT_ONCE = 5000
"""Of a dump: milliseconds, in which nothing else is answered."""


class SocketServer:
    """Answers on `listener` while `run` runs."""

    def __init__(self, indexer: LocalIndexer, listener: socket.socket, address: str) -> None:
        self.indexer = indexer
        self.address = address
        self.connections: set[_Connection] = set()
        self.standings: dict[str, PodStanding] = {}
        self._listener = listener

    async def run(self) -> None:
        """Answer until cancelled."""
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: _Connection(self), sock=self._listener)
        try:
            while True:
                began = loop.time()
                self._spread()
                await asyncio.sleep(max(NEWS_S, (loop.time() - began) / NEWS_SHARE))
        finally:
            server.close()
            for connection in [*self.connections]:
                connection.end()
            remove(self.address)

    def _spread(self) -> None:
        """Tell what has changed since the last time."""
        before = self.standings
        self.standings = self.now()
        changed: dict[str, PodStanding | None] = {
            pod: its for pod, its in self.standings.items() if before.get(pod) != its
        }
        changed |= dict.fromkeys(before.keys() - self.standings.keys())
        if changed and self.connections:
            news = message(NEWS, "standings", messages.standing_rows(changed))
            for connection in self.connections:
                connection.write(news)
        if len(self.connections) > 1:
            self._share()

    def _share(self) -> None:
        """Tell each gateway what the others run."""
        whole: Counter[Place] = Counter()
        for connection in self.connections:
            whole.update(connection.load)
        for connection in self.connections:
            connection.tell_load(whole - connection.load)

    def now(self) -> dict[str, PodStanding]:
        """Return the standing of every pod."""
        return {pod.name: self.indexer.standing(pod.name) for pod in self.indexer.pods}


class _Connection(asyncio.Protocol):
    """One gateway."""

    _transport: asyncio.Transport

    def __init__(self, server: SocketServer) -> None:
        self._server = server
        self._indexer = server.indexer
        self._messages = messages.Messages()
        self._writable = asyncio.Event()
        self.load: Counter[Place] = Counter()
        self._told: Counter[Place] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._writable.set()
        try:
            check_user(transport.get_extra_info("socket"), self._server.address)
        except IndexerError as error:
            log.warning("a connection is refused: %s", error)
            self._transport.abort()
            return
        self._server.connections.add(self)
        rows = messages.standing_rows(self._server.now())
        self.write(message(NEWS, "hello", (PROTOCOL, self._indexer.version.run, rows)))

    def connection_lost(self, _: Exception | None) -> None:
        """Give up what waits."""
        self._server.connections.discard(self)
        for task in self._tasks:
            task.cancel()

    def pause_writing(self) -> None:
        """Let parts wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let parts go on."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        try:
            for number, kind, *asked in self._messages.feed(data):
                self._answer(number, kind, asked)
        except (IndexerError, ValueError) as error:
            log.warning("a gateway is not understood, its connection is closed: %s", error)
            self._transport.abort()

    def write(self, content: bytes) -> None:
        """Send a message, however many wait."""
        if not self._transport.is_closing():
            self._transport.write(content)

    def tell_load(self, others: Counter[Place]) -> None:
        """Say how many requests others run, if that has changed."""
        if others != self._told:
            self._told = others
            self.write(message(NEWS, "load", messages.load_rows(others)))

    def end(self) -> None:
        """Close once everything is sent."""
        self._transport.close()

    def _answer(self, number: int, kind: str, asked: Row) -> None:
        try:
            match kind:
                case "match":
                    self.write(message(number, self._match(asked)))
                case "load":
                    self.load = messages.load_of(asked[0])
                case "picture":
                    self.write(message(number, messages.picture_row(self._indexer.picture())))
                case "dump":
                    self._begin(number, self._dump(Source(*asked)))
                case "snapshots":
                    self._begin(number, self._indexer.snapshots())
                case _:
                    raise ValueError(f"nobody can be asked for {kind!r}")
        except (ValueError, TypeError) as error:
            self.write(message(number, None, str(error)))

    def _match(self, asked: Row) -> Row:
        return messages.answer_row(self._indexer.look_up(messages.prompt_of(asked)))

    def _begin(self, number: int, parts: AsyncIterator[object]) -> None:
        task = asyncio.create_task(self._send(number, parts))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, number: int, parts: AsyncIterator[object]) -> None:
        """Send an answer part by part, as fast as it is read; nothing is its end."""
        async for part in parts:
            self.write(message(number, part))
            await self._writable.wait()
            await asyncio.sleep(0)
        self.write(message(number, None))

    async def _dump(self, source: Source) -> AsyncIterator[object]:
        if dump := await self._indexer.dump(source):
            yield messages.facts_row(dump.facts)
            rows = iter(dump.blocks.items())
            while some := tuple(islice(rows, BLOCKS_AT_ONCE)):
                yield some
