"""One connection of a client: uvicorn's, on which a request or an answer that does not get on is ended.

uvicorn limits how long a connection is idle after an answer, but neither before the first request nor in the
middle of a request's head, nor how long a head is. An offer to speak another protocol, which Java's client
makes with each request, is not taken up, as HTTP allows; uvicorn's parser would lose the request's body.
"""

import asyncio
import json
from collections.abc import Callable
from functools import partial

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from kvsync.config import ClientsConfig
from kvsync.gateway.refusal import error


def connections(limits: ClientsConfig) -> Callable[..., asyncio.Protocol]:
    """Return what uvicorn makes each connection with."""
    return partial(ClientConnection, limits=limits)


CLOSE = "close"
"""The name, in the state of a request's scope, of what closes its connection when an answer breaks off."""


HEAD_BYTES = 65_536
"""How long the head of a request may be."""


class ClientConnection(HttpToolsProtocol):
    """A connection that is closed when nothing comes or nothing is taken; half a head is answered by 408."""

    def __init__(self, *args: object, limits: ClientsConfig, **settings: object) -> None:
        super().__init__(*args, **settings)  # type: ignore[arg-type]
        self._limits = limits
        self._patience: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._head = 0
        self._in_head = False
        self.app_state = {**self.app_state, CLOSE: self._break_off}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request."""
        super().connection_made(transport)
        self._patience = self.loop.call_later(self._limits.keep_alive_s, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a head, unless it is complete."""
        self._wait_no_more()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._in_head:
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self._refuse(431, f"the head of a request is longer than {HEAD_BYTES} bytes")
                return
            self._patience = self.loop.call_later(self._limits.request_idle_s, self._give_up)

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._head, self._in_head = 0, True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those after a body, of which there may be any number, are left out."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End it."""
        self._in_head = False
        super().on_headers_complete()

    def _feed(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline()
            self._feed(data[offer.args[0] :])

    def _decline(self) -> None:
        """Read on in HTTP/1.1 after the head of a request that offers another protocol.

        The parser takes the rest for that protocol: a new one reads it, told how long the body is.
        """
        framing = [each for each in self.headers if each[0] in (b"content-length", b"transfer-encoding")]
        head = b"".join(b"%b: %b\r\n" % each for each in framing)
        self.parser = httptools.HttpRequestParser(_AfterHead(self))
        self.cycle.more_body = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + head + b"\r\n")

    def pause_writing(self) -> None:
        """Wait for the client to take what was written."""
        super().pause_writing()
        self._unread = self.loop.call_later(self._limits.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Wait no more for that."""
        if self._unread is not None:
            self._unread.cancel()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._wait_no_more()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def _break_off(self) -> None:
        self.cycle.disconnected = True  # or uvicorn takes an answer without an end for a defect
        self.transport.close()

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

    def _give_up(self) -> None:
        idle_s = self._limits.request_idle_s
        self._refuse(408, f"the head of a request is incomplete, and nothing came for {idle_s:g} s")

    def _refuse(self, status: int, said: str) -> None:
        if self.transport.is_closing():
            return
        body = json.dumps(error("", status, said)).encode()
        head = STATUS_LINE[status] + b"content-type: application/json\r\nconnection: close\r\n"
        self.transport.write(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        self.transport.close()


class _AfterHead:
    """Hears a parser for a connection, but for the head of its first request, which the connection knows."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._known = True

    def on_headers_complete(self) -> None:
        if self._known:
            self._known = False
        else:
            self._connection.on_headers_complete()

    def on_message_begin(self) -> None:
        if not self._known:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._known:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._known:
            self._connection.on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._connection.on_body(body)

    def on_message_complete(self) -> None:
        self._connection.on_message_complete()
