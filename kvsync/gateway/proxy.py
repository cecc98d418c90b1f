"""One request passed to one pod, and what came of it, as values.

An attempt either fails before a byte of its answer was passed on, so that another pod can be asked, or has
begun to answer. Streams (`text/event-stream`) begin with their first chunk and are passed on chunk by chunk;
any other answer is read whole first, which leaves the choice of another pod open to its end.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Set
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from kvsync.access.peers import (
    Disconnected,
    Headers,
    NotConnected,
    PeerAnswer,
    PeerClient,
    PeerError,
)
from kvsync.config import UpstreamConfig
from kvsync.gateway.failover.attempts import REFUSALS, is_stale
from kvsync.gateway.failover.budget import RetryBudget
from kvsync.gateway.health import HealthMonitor
from kvsync.pods import Pod

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers that belong to one connection (RFC 9110 7.6.1), as do those that `Connection` names."""

OURS = frozenset((b"host", b"content-length", b"accept-encoding", b"expect"))
"""Request headers that the gateway sets itself. Answers come unencoded, as their usage is read."""


class _Request(NamedTuple):
    method: str
    url: str
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamFailure:
    """Why a pod gave no answer, or broke off partway.

    `is_seen`: the request may have reached it. `said` is the answer by which it refused, if it did.
    """

    pod: str
    reason: str
    is_seen: bool = True
    said: "UpstreamAnswer | None" = None

    @property
    def status(self) -> int | None:
        """The status by which it refused."""
        return self.said.status if self.said else None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamAnswer:
    """An answer that has begun. `chunks` ends with an UpstreamFailure when it broke off."""

    status: int
    headers: Headers
    streams: bool
    chunks: AsyncGenerator[bytes | UpstreamFailure]


class Proxy:
    """Passes requests on to pods."""

    def __init__(
        self,
        client: PeerClient,
        limits: UpstreamConfig,
        health: HealthMonitor,
        budget: RetryBudget,
    ) -> None:
        self._client = client
        self._limits = limits
        self._health = health
        self._budget = budget

    @asynccontextmanager
    async def send(
        self, pod: Pod, method: str, path: str, headers: Headers, body: bytes
    ) -> AsyncIterator[UpstreamAnswer | UpstreamFailure]:
        """Send the request to `pod`. Leaving the block also ends the request at the pod."""
        own = [*forwarded_headers(headers, without=OURS), (b"accept-encoding", b"identity")]
        request = _Request(method, pod.url + path, own, body)
        async with AsyncExitStack() as stack:
            yield await self._begin(pod, request, stack)

    async def _begin(
        self, pod: Pod, request: _Request, stack: AsyncExitStack
    ) -> UpstreamAnswer | UpstreamFailure:
        sent_at = time.monotonic()
        try:
            async with self._patience(pod):
                response = await self._send(request)
                stack.callback(response.close)
                streams = _streams(response) and response.status not in REFUSALS
                chunks = aiter(response)
                first = await self._next(pod, chunks) or b"" if streams else await self._whole(pod, chunks)
        except NotConnected as exc:
            return UpstreamFailure(pod=pod.name, reason=_reason(exc), is_seen=False)
        except TimeoutError:
            health, waited_s = self._health.of(pod), time.monotonic() - sent_at
            late = f"no answer for {waited_s:.1f} s"
            return UpstreamFailure(pod=pod.name, reason=health.problem if health.gone else late)
        except PeerError as exc:
            return UpstreamFailure(pod=pod.name, reason=_reason(exc))
        answer = UpstreamAnswer(
            status=response.status,
            headers=forwarded_headers(response.headers, without={b"date"}),
            streams=streams,
            chunks=self._remaining(pod, first, chunks),
        )
        if answer.status in REFUSALS:
            return UpstreamFailure(pod=pod.name, reason=f"status {answer.status}", said=answer)
        return answer

    async def _send(self, request: _Request) -> PeerAnswer:
        """Send a request, once more if its connection had been idle and breaks: the pod just closed it."""
        connected: list[str] = []
        sent_at = time.monotonic()
        try:
            return await self._ask(request, connected)
        except Disconnected:
            after_s = time.monotonic() - sent_at
            if not is_stale(is_reused=not connected, after_s=after_s) or not self._budget.admits("resent"):
                raise
            return await self._ask(request, connected)

    async def _ask(self, request: _Request, connected: list[str]) -> PeerAnswer:
        return await self._client.begin(
            request.method,
            request.url,
            headers=request.headers,
            content=request.body,
            connect_s=self._limits.connect_s,
            connected=connected,
        )

    @asynccontextmanager
    async def _patience(self, pod: Pod) -> AsyncIterator[None]:
        """Limit the time to an answer; it ends at once when the pod is gone.

        As long as the pod answers probes, or sends bytes to others, the request waits for `answer_s`: it may
        be in a queue. Without a sign of life it waits for `first_byte_s` longer. A pod behind a dead link
        neither answers nor refuses; its probes show that long before.
        """
        last = asyncio.get_running_loop().time() + self._limits.answer_s

        def patient_until() -> float:
            return min(last, asyncio.get_running_loop().time() + self._limits.first_byte_s)

        async with asyncio.timeout_at(patient_until()) as limit:

            def heard(alive: bool) -> None:
                if not limit.expired():
                    limit.reschedule(patient_until() if alive else 0)

            with self._health.watching(pod, heard):
                yield

    async def _next(self, pod: Pod, chunks: AsyncIterator[bytes]) -> bytes | None:
        chunk = await anext(chunks, None)
        if chunk is not None:
            self._health.heard_from(pod)
        return chunk

    async def _whole(self, pod: Pod, chunks: AsyncIterator[bytes]) -> bytes:
        parts = []
        while (chunk := await self._next(pod, chunks)) is not None:
            parts.append(chunk)
        return b"".join(parts)

    async def _remaining(
        self, pod: Pod, first: bytes, chunks: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes | UpstreamFailure]:
        yield first
        clock, idle_s = asyncio.get_running_loop().time, self._limits.idle_s
        try:
            async with asyncio.timeout(None) as patience:  # one for all: of each chunk it was the most
                while True:
                    patience.reschedule(clock() + idle_s)
                    chunk = await self._next(pod, chunks)
                    patience.reschedule(None)
                    if chunk is None:
                        return
                    yield chunk
        except TimeoutError:
            yield UpstreamFailure(pod=pod.name, reason=f"silent for {self._limits.idle_s:g} s")
        except PeerError as exc:
            yield UpstreamFailure(pod=pod.name, reason=_reason(exc))


def forwarded_headers(headers: Headers, *, without: Set[bytes]) -> list[tuple[bytes, bytes]]:
    """Return the headers that go to the other side: all but hop-by-hop ones and those in `without`."""
    named = (value for name, value in headers if name.lower() == b"connection")
    own = {token.strip().lower() for value in named for token in value.split(b",")}
    return [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP | without | own]


def _streams(response: PeerAnswer) -> bool:
    return response.header(b"content-type").lower().startswith(b"text/event-stream")


def _reason(exc: PeerError) -> str:
    return f"{type(exc).__name__}: {exc}".removesuffix(": ")
