"""The client by which the gateway asks others: engines, tokenizers, other gateways.

It is aiohttp's, which needs half the CPU time of httpx for a request. Nothing is read from the environment;
cookies and redirects of one request mean nothing for the next.
"""

import asyncio
import io
import ipaddress
import ssl
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

Headers = Sequence[tuple[bytes, bytes]]

PeerError = aiohttp.ClientError
"""A request that failed, or an answer that broke off."""

NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""No connection could be made: the peer has seen nothing of the request. The second is a TimeoutError."""

DISCONNECTED = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)
"""The connection broke before the head of an answer came."""

PeerAnswer = aiohttp.ClientResponse
"""An answer whose head has come; `raw_headers` are its headers, and `content.iter_any()` gives its bytes."""

KEEP_ALIVE_S = 3.0
"""Idle connections are closed before vLLM closes them after 5 s: a request sent just then would fail."""

HEAD_BYTES = 65_536
"""How long a line of an answer's head may be; aiohttp's own limit of 8 KB is less than proxies add."""

AT_ONCE_BYTES = 2**20
"""Longer contents are written piece by piece, so that others get their turn."""

NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


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


_CONNECTED: ContextVar[list[str] | None] = ContextVar("connected", default=None)


class _Connector(aiohttp.TCPConnector):
    """One that notes when it makes a connection: to be told by aiohttp's traces costs each request more."""

    async def _create_connection(self, *args: Any) -> Any:
        if (connected := _CONNECTED.get()) is not None:
            connected.append("connection")
        return await super()._create_connection(*args)


class PeerClient:
    """Asks peers, each through idle connections that it has to it; a context manager within a running loop.

    Peers with https have to be trusted by `tls`; those at an IP address have to be `server_name`, if given.
    All methods raise PeerError and TimeoutError.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, server_name: str | None = None) -> None:
        self._tls = tls or ssl.create_default_context()
        self._server_name = server_name
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=_Connector(ssl=self._tls, limit=0, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=NOT_ADDED,
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(),
            max_line_size=HEAD_BYTES,
            max_field_size=HEAD_BYTES,
            max_headers=1_000,
        )
        # What is sent again, and when, is for the callers to say.
        self._session._retry_connection = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

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
        if not self._session:
            raise RuntimeError("the client is not open: use it as a context manager")
        name = self._server_name if self._server_name and _is_address(url) else None
        _CONNECTED.set(connected)
        return await self._session.request(
            method,
            _as_url(url),
            headers=_as_text(headers),
            data=io.BytesIO(content) if len(content) > AT_ONCE_BYTES else content or None,
            allow_redirects=False,
            server_hostname=name,
            timeout=_timeout(connect_s),
        )

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
            answer = await self.begin(method, url, headers=pairs, content=content)
            async with answer:
                return Reply(url=url, status=answer.status, content=await answer.read())


@lru_cache
def _timeout(connect_s: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(sock_connect=connect_s)


@lru_cache(256)
def _as_url(text: str) -> URL:
    """Return the address as it is written, without encoding it again."""
    try:
        return URL(text, encoded=True)
    except ValueError as exc:
        raise aiohttp.InvalidURL(text, str(exc)) from exc


def _as_text(headers: Iterable[tuple[bytes, bytes]]) -> CIMultiDict[str]:
    return CIMultiDict((name.decode("latin-1"), _value(value)) for name, value in headers)


def _value(value: bytes) -> str:
    """Return what aiohttp, which writes UTF-8, sends as these bytes; other encodings become UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _is_address(url: str) -> bool:
    parts = urlsplit(url)
    try:
        ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return False
    return parts.scheme == "https"
