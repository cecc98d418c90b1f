"""The client by which the gateway asks others: engines, tokenizers, other gateways.

It does what a gateway needs and no more: aiohttp's takes several times the CPU time for a request. Nothing is
read from the environment; there are no cookies and no redirects.
"""

import asyncio
import ipaddress
import ssl
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import unquote, urlsplit

import orjson

from kvsync.access.exchange import (
    Disconnected,
    Headers,
    NotConnected,
    PeerAnswer,
    PeerConnection,
    PeerError,
)

__all__ = ["Disconnected", "Headers", "NotConnected", "PeerAnswer", "PeerClient", "PeerError", "Reply"]

KEEP_ALIVE_S = 3.0
"""Idle connections are closed before vLLM closes them after 5 s: a request sent just then would fail."""

WITH_CONTENT = ("PATCH", "POST", "PUT")
"""Methods of which an empty content is told as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer."""

    url: str
    status: int
    content: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is one of 2xx."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The content as text, whatever it holds."""
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        """Read the content as JSON. Raises ValueError."""
        return orjson.loads(self.content)


class _Address(NamedTuple):
    """What a URL says: where to connect to, and what to write there."""

    is_secure: bool
    host: str
    port: int
    path: bytes
    headers: Headers

    @property
    def place(self) -> tuple[bool, str, int]:
        """What connections are kept for."""
        return self[:3]


class PeerClient:
    """Asks peers, each through idle connections that it has to it; a context manager within a running loop.

    Peers with https have to be trusted by `tls`; those at an IP address have to be `server_name`, if given.
    All methods raise PeerError and TimeoutError.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, server_name: str | None = None) -> None:
        self._tls = tls or ssl.create_default_context()
        self._server_name = server_name
        self._is_open = False
        self._all: set[PeerConnection] = set()
        self._idle: dict[tuple[bool, str, int], dict[PeerConnection, asyncio.TimerHandle]] = {}

    async def __aenter__(self) -> Self:
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        for connection in [*self._all]:
            connection.close()
        await asyncio.sleep(0)  # so that they are closed when the loop ends

    async def begin(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        content: bytes = b"",
        connect_s: float | None = None,
        connected: list[str] | None = None,
    ) -> PeerAnswer:
        """Send a request; returns its answer once the head is here, which the caller has to close.

        `connected` gets an entry if a connection is made for it: without one, an idle one was used.
        """
        if not self._is_open:
            raise RuntimeError("the client is not open: use it as a context manager")
        address = _address(url)
        head = _head(method, address, headers, content)
        if not (connection := self._reused(address)):
            if connected is not None:
                connected.append("connection")
            connection = await self._connect(address, connect_s)
        return await connection.ask(head, content, is_head=method == "HEAD")

    def _reused(self, address: _Address) -> PeerConnection | None:
        """Return the connection that has been idle for the shortest time, if there is one."""
        idle = self._idle.get(address.place)
        while idle:
            connection, timer = idle.popitem()
            timer.cancel()
            if connection.is_open:
                return connection
        return None

    async def _connect(self, address: _Address, connect_s: float | None) -> PeerConnection:
        """Make a connection. Raises NotConnected."""
        loop, where = asyncio.get_running_loop(), f"{address.host}:{address.port}"

        def idle(connection: PeerConnection) -> None:
            timer = loop.call_later(KEEP_ALIVE_S, connection.close)
            self._idle.setdefault(address.place, {})[connection] = timer

        def lost(connection: PeerConnection) -> None:
            self._all.discard(connection)
            others = self._idle.get(address.place, {})
            if timer := others.pop(connection, None):
                timer.cancel()
            if not others:
                self._idle.pop(address.place, None)

        name = self._server_name if self._server_name and _is_address(address.host) else address.host
        tls = {"ssl": self._tls, "server_hostname": name} if address.is_secure else {}
        connect: Any = partial(loop.create_connection, lambda: PeerConnection(idle, lost), **tls)
        connection: PeerConnection
        try:
            async with asyncio.timeout(connect_s) as patience:
                _, connection = await connect(address.host, address.port)
        except (OSError, UnicodeError) as exc:  # TimeoutError is an OSError; a name may be impossible
            late = f"no connection within {connect_s:g} s" if connect_s and patience.expired() else exc
            raise NotConnected(f"{where}: {late}") from exc
        self._all.add(connection)
        return connection

    async def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Headers | Mapping[str, str] = (),
        content: bytes = b"",
        timeout_s: float | None = None,
    ) -> Reply:
        """Send a request; returns the whole answer."""
        pairs = (
            [(n.encode(), v.encode()) for n, v in headers.items()]
            if isinstance(headers, Mapping)
            else headers
        )
        async with asyncio.timeout(timeout_s):
            async with await self.begin(method, url, headers=pairs, content=content) as answer:
                return Reply(url=url, status=answer.status, content=await answer.read())


@lru_cache(256)
def _address(url: str) -> _Address:
    """Read a URL, whose path and query are sent as they are written. Raises PeerError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise PeerError(f"{url!r} is no URL: {exc}") from exc
    is_secure = parts.scheme == "https"
    is_clean = not any(letter <= " " or letter == "\x7f" for letter in url)
    if not (parts.hostname and parts.scheme in ("http", "https") and is_clean):
        raise PeerError(f"{url!r} is no URL of HTTP")
    user, _, host = parts.netloc.rpartition("@")
    headers = [(b"host", host.encode())]
    if user:
        headers.append((b"authorization", b"Basic " + b64encode(unquote(user).encode())))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Address(is_secure, parts.hostname, port or (443 if is_secure else 80), path.encode(), headers)


def _head(method: str, address: _Address, headers: Iterable[tuple[bytes, bytes]], content: bytes) -> bytes:
    """Write the head of a request. Raises PeerError for a header that would be more than one line."""
    lines = [b"%b %b HTTP/1.1" % (method.encode(), address.path)]
    lines += [b"%b: %b" % each for each in (*address.headers, *headers)]
    if content or method in WITH_CONTENT:
        lines.append(b"content-length: %d" % len(content))
    head = b"\r\n".join((*lines, b"", b""))
    if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1:
        raise PeerError("a header of the request has the end of a line in it")
    return head


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
