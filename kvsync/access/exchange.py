"""One HTTP/1.1 connection to a peer, on which one request follows the other.

Rules:

1. An answer ends with its length, its last chunk or, if it has neither, with the connection.
2. A connection is used again if both sides keep it and the answer came to its end. Whatever comes on an idle
   one ends it: the next request would take that for its answer.
3. Who reads slowly is sent no more: beyond UNREAD_BYTES nothing is taken off the connection.
4. Informational answers (1xx) are passed over.
5. An answer to HEAD ends with its head, and its connection with it: the parser would wait for a content.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Self, cast

import httptools

from kvsync.errors import KVSyncError

Headers = Sequence[tuple[bytes, bytes]]

HEAD_BYTES = 65_536
"""How much of an answer's head may come without its end: proxies add more than the usual limit of 8 KB."""

UNREAD_BYTES = 262_144
"""Of an answer, that came and were not read yet."""


class PeerError(KVSyncError):
    """A request that failed, or an answer that broke off."""


class NotConnected(PeerError):
    """No connection could be made: the peer has seen nothing of the request."""


class Disconnected(PeerError):
    """The connection broke before the head of an answer came."""


class PeerAnswer:
    """An answer whose head has come. Iterating gives its bytes as they come; PeerError if it breaks off.

    It has to be closed, which a context manager does: one that has not come to its end takes its connection
    with it.
    """

    def __init__(self, connection: "PeerConnection", status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection
        self._parts: list[bytes] = []
        self._unread = 0
        self._is_over = False
        self._error: PeerError | None = None
        self._waiting: asyncio.Future[None] | None = None

    def header(self, name: bytes) -> bytes:
        """Return the first header of a name in small letters; empty: there is none."""
        return next((value for its, value in self.headers if its.lower() == name), b"")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self._error:
                raise self._error
            if self._is_over:
                raise StopAsyncIteration
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        chunk = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        if self._unread > UNREAD_BYTES and not self._is_over:
            self._connection.hold(reading=True)
        self._unread = 0
        return chunk

    async def read(self) -> bytes:
        """Return all that has not been read yet."""
        return b"".join([chunk async for chunk in self])

    def close(self) -> None:
        """Take no more of it."""
        if not self._is_over:
            self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def feed(self, chunk: bytes) -> None:
        """Take in what came."""
        self._parts.append(chunk)
        before, self._unread = self._unread, self._unread + len(chunk)
        if before <= UNREAD_BYTES < self._unread:
            self._connection.hold(reading=False)
        self._wake()

    def end(self, error: PeerError | None = None) -> None:
        """Note that nothing more comes, and why, if that is no proper end."""
        self._is_over, self._error = True, error
        self._wake()

    def _wake(self) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)


class PeerConnection(asyncio.Protocol):
    """A connection; `idle` is called with it whenever it can be used again, and `lost` at its end."""

    _transport: asyncio.Transport

    def __init__(
        self, idle: Callable[["PeerConnection"], None], lost: Callable[["PeerConnection"], None]
    ) -> None:
        self._idle, self._lost = idle, lost
        self._parser = httptools.HttpResponseParser(self)
        self._head: asyncio.Future[PeerAnswer] | None = None  # that is waited for
        self._head_bytes = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._answer: PeerAnswer | None = None  # that comes
        self._is_head = False

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return not self._transport.is_closing()

    async def ask(self, *content: bytes, is_head: bool = False) -> PeerAnswer:
        """Send a request; returns its answer once the head is here. Raises PeerError."""
        self._is_head = is_head
        self._head, self._head_bytes = asyncio.get_running_loop().create_future(), 0
        self._transport.writelines(content)
        try:
            return await self._head
        except BaseException:
            self.close()
            raise

    def hold(self, *, reading: bool) -> None:
        """Read on, or let the peer wait."""
        if self.is_open:
            (self._transport.resume_reading if reading else self._transport.pause_reading)()

    def close(self) -> None:
        """End it at once."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is waited for."""
        self._lost(self)
        if self._answer:
            has_end = self._answer.header(b"content-length") or self._answer.header(b"transfer-encoding")
            cut = PeerError(f"the connection broke: {exc}" if exc else "the connection was closed too early")
            self._answer.end(cut if exc or has_end else None)
        self._refuse(Disconnected(str(exc or "the connection was closed")))

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._fail(f"what was answered is not HTTP/1.1: {exc}")
            return
        if self._head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._fail(f"the head of the answer is longer than {HEAD_BYTES} bytes")

    def _fail(self, why: str) -> None:
        error = PeerError(why)
        if self._answer:
            self._answer.end(error)
            self._answer = None
        self._refuse(error)
        self.close()

    def _refuse(self, error: PeerError) -> None:
        if self._head and not self._head.done():
            self._head.set_exception(error)
        self._head = None

    def on_message_begin(self) -> None:
        """Begin an answer."""
        self._headers = []
        if not self._head:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those after a chunked answer are not passed on."""
        if not self._answer:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Give the answer to who waits for it."""
        status = self._parser.get_status_code()
        if status >= 200 and self._head and not self._head.done():
            self._answer = PeerAnswer(self, status, self._headers)
            self._head.set_result(self._answer)
            self._head = None
            if self._is_head:
                self._answer.end()
                self._answer = None
                self._transport.close()

    def on_body(self, chunk: bytes) -> None:
        """Pass on a part of the answer."""
        if self._answer:
            self._answer.feed(chunk)

    def on_message_complete(self) -> None:
        """End the answer, if it is one."""
        if self._answer:
            answer, self._answer = self._answer, None
            answer.end()
            if self._parser.should_keep_alive():
                self.hold(reading=True)
                self._idle(self)
            else:
                self._transport.close()
