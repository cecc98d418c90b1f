"""One connection of a client: uvicorn's, on which a request or an answer that does not get on is ended.

uvicorn limits how long a connection is idle after an answer, but neither before the first request nor in the
middle of a request's head. An offer to speak another protocol, which Java's client makes with each request,
is not taken up, as HTTP allows; uvicorn would log two warnings each time.
"""

import asyncio
import json
from collections.abc import Callable
from functools import partial

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from kvsync.config import ClientsConfig
from kvsync.gateway.refusal import error


def connections(limits: ClientsConfig) -> Callable[..., asyncio.Protocol]:
    """Return what uvicorn makes each connection with."""
    return partial(ClientConnection, limits=limits)


CLOSE = "close"
"""The name, in the state of a request's scope, of what closes its connection when an answer breaks off."""


class ClientConnection(H11Protocol):
    """A connection that is closed when nothing comes or nothing is taken; half a head is answered by 408."""

    def __init__(self, *args: object, limits: ClientsConfig, **settings: object) -> None:
        super().__init__(*args, **settings)  # type: ignore[arg-type]
        self._limits = limits
        self._patience: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self.app_state = {**self.app_state, CLOSE: lambda: self.transport.close()}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request."""
        super().connection_made(transport)
        self._patience = self.loop.call_later(self._limits.keep_alive_s, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a head, unless it is complete."""
        self._wait_no_more()
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._patience = self.loop.call_later(self._limits.request_idle_s, self._refuse)

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

    def _should_upgrade(self) -> bool:
        return False

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

    def _refuse(self) -> None:
        if self.transport.is_closing():
            return
        said = f"the head of a request is incomplete, and nothing came for {self._limits.request_idle_s:g} s"
        body = json.dumps(error("", 408, said)).encode()
        head = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        self.transport.close()
