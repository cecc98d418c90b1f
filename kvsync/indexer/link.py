"""One connection to an indexer: questions go out, answers and news come in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, cast

from kvsync.errors import IndexerError
from kvsync.indexer import messages
from kvsync.indexer.address import connect
from kvsync.indexer.messages import LENGTH_BYTES, NEWS, PROTOCOL, message

News = Any
"""What a piece of news says, as it was read."""

HELLO_S = 1.0
"""How long an indexer may take to say hello: one that was stopped has a kernel that accepts in its place."""

PART_S = 10.0
"""How long each part of a long answer may take: a snapshot is made in another thread meanwhile."""


class IndexerLink(asyncio.Protocol):
    """A connection that is open until `lost`; `news` is called with what comes unasked."""

    _transport: asyncio.Transport

    def __init__(self, address: str, news: Callable[[str, News], None]) -> None:
        loop = asyncio.get_running_loop()
        self._address = address
        self._news = news
        self._messages = messages.Messages()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._number = NEWS
        self._hello: asyncio.Future[None] = loop.create_future()
        self._lost: asyncio.Future[str] = loop.create_future()

    @classmethod
    async def open(cls, address: str, news: Callable[[str, News], None]) -> "IndexerLink":
        """Connect, and wait for hello. Raises IndexerError."""
        loop, link = asyncio.get_running_loop(), cls(address, news)
        try:
            async with asyncio.timeout(HELLO_S):
                await loop.create_unix_connection(lambda: link, sock=await connect(address))
                await link._hello
        except TimeoutError as error:
            link.end()
            raise IndexerError(f"{address}: no hello within {HELLO_S:g} s") from error
        except IndexerError:
            link.end()
            raise
        return link

    async def ask(self, kind: str, *asked: object, timeout_s: float) -> Any:
        """Ask; returns the answer's content. Raises IndexerError, also if the indexer lets it wait: then the
        connection is given up, as what is asked next would wait as well."""
        self._number += 1
        number, loop = self._number, asyncio.get_running_loop()
        if self._transport.is_closing():
            raise IndexerError(f"{self._address}: the connection has just ended")
        answer = self._asked[number] = loop.create_future()
        self._transport.write(message(number, kind, *asked))
        late = loop.call_later(timeout_s, self._give_up, f"no answer within {timeout_s:g} s")
        try:
            return await answer
        finally:
            late.cancel()
            self._asked.pop(number, None)

    def tell(self, kind: str, content: object) -> None:
        """Say something that needs no answer."""
        if not self._transport.is_closing():
            self._transport.write(message(NEWS, kind, content))

    @property
    def ended(self) -> str:
        """Why the connection has ended; empty: it has not."""
        return self._lost.result() if self._lost.done() else ""

    async def lost(self) -> str:
        """Wait for the end of the connection; returns why it ended."""
        return await asyncio.shield(self._lost)

    def end(self) -> None:
        """Close the connection."""
        with suppress(AttributeError):  # it was never made
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Give up what waits."""
        self._give_up(f"the connection broke: {error}" if error else "its process has ended")

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        try:
            for number, content, *problem in self._messages.feed(data):
                if number == NEWS:
                    self._heard(content, problem[0])
                elif (answer := self._asked.get(number)) and not answer.done():
                    if problem:
                        answer.set_exception(IndexerError(problem[0]))
                    else:
                        answer.set_result(content)
        except IndexerError as error:
            self._give_up(f"it says what is not understood: {error}")
        except (ValueError, TypeError, KeyError, IndexError) as error:
            self._give_up(f"it says what is not understood: is it an indexer of this release? ({error})")

    def _heard(self, kind: str, content: News) -> None:
        if kind == "hello":
            if content[0] != PROTOCOL:
                said = f"it speaks protocol {content[0]}, this gateway {PROTOCOL}: run one release of both"
                raise IndexerError(said)
            if not self._hello.done():
                self._hello.set_result(None)
        self._news(kind, content)

    def _give_up(self, why: str) -> None:
        """End the connection; all that was asked stays unanswered."""
        if self._lost.done():
            return
        said = f"{self._address}: {why}"
        self._lost.set_result(said)
        for answer in (self._hello, *self._asked.values()):
            if not answer.done():
                answer.set_exception(IndexerError(said))
                answer.exception()  # who asked may be gone
        self.end()


async def parts(address: str, kind: str, *asked: object) -> AsyncIterator[Any]:
    """Ask, on a connection of its own, for what comes in parts. Raises IndexerError when that ends early."""
    try:
        reader, writer = await asyncio.open_unix_connection(sock=await connect(address))
        try:
            writer.write(message(1, kind, *asked))
            while True:
                async with asyncio.timeout(PART_S):
                    length = messages.length_of(await reader.readexactly(LENGTH_BYTES))
                    number, content, *problem = messages.read(await reader.readexactly(length))
                if problem and number != NEWS:
                    raise IndexerError(problem[0])
                if number != NEWS and content is None:
                    return
                if number != NEWS:
                    yield content
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    except TimeoutError as error:
        raise IndexerError(f"{address}: nothing more came within {PART_S:g} s") from error
    except (OSError, EOFError) as error:
        raise IndexerError(f"{address}: the answer broke off: {error}") from error
