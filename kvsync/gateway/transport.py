"""Connections to pods: a pool for each, because one pool for all is slow.

httpcore looks at every connection of a pool, idle ones by a system call, for each request: 1.3 ms of CPU time
with one peer in the pool, 17 ms with a hundred (measured).
"""

import ipaddress
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx

KEEP_ALIVE_S = 3.0
"""Idle connections are closed before vLLM closes them after 5 s: a request sent just then would fail."""

FORGET_S = 600.0
"""Peers unused for this long are gone, since pods are probed all the time. Their last answers may go on."""


@dataclass(slots=True)
class _Peer:
    pool: httpx.AsyncHTTPTransport
    used_at: float
    answers: int = 0


class _Answer(httpx.AsyncByteStream):
    """The body of an answer, whose peer is not forgotten before it is closed."""

    def __init__(self, body: httpx.AsyncByteStream, peer: _Peer) -> None:
        self._body, self._peer = body, peer
        self._peer.answers += 1

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            yield chunk

    async def aclose(self) -> None:
        self._peer.answers -= 1
        await self._body.aclose()


class PeerTransport(httpx.AsyncBaseTransport):
    """Sends each request through the pool of its host and port; nothing is read from the environment.

    Peers with https have to be trusted by `tls`; those at an IP address have to be `server_name`, if given.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> None:
        self._clock = clock
        self._tls = tls or ssl.create_default_context()
        self._server_name = server_name
        self._peers: dict[tuple[str, str, int | None], _Peer] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, as httpx' transports do."""
        url, now = request.url, self._clock()
        key = (url.scheme, url.host, url.port)
        if key not in self._peers:
            await self._forget(now - FORGET_S)
            limits = httpx.Limits(max_connections=None, keepalive_expiry=KEEP_ALIVE_S)
            self._peers[key] = _Peer(httpx.AsyncHTTPTransport(self._tls, trust_env=False, limits=limits), now)
        peer = self._peers[key]
        peer.used_at = now
        if self._server_name and url.scheme == "https" and _is_address(url.host):
            request.extensions["sni_hostname"] = self._server_name
        response = await peer.pool.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Answer(response.stream, peer)
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        for peer in self._peers.values():
            await peer.pool.aclose()
        self._peers.clear()

    async def _forget(self, before: float) -> None:
        idle = [key for key, peer in self._peers.items() if peer.used_at < before and not peer.answers]
        for key in idle:
            await self._peers.pop(key).pool.aclose()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
