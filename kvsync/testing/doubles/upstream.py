"""A pod that answers byte for byte as it is told: badly, where a simulated engine only answers well."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

from kvsync.pods import Pod

_BODY = b'{"choices": [{"text": "scripted"}]}'
_CHUNK = b'data: {"choices": [{"text": "scr"}]}\n\n'

_HEAD = b"HTTP/1.1 %b\r\nConnection: close\r\nKeep-Alive: 9\r\nX-Request-Id: r-1\r\n"

WHOLE = _HEAD % b"200 OK" + b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
KEPT = WHOLE.replace(b"Connection: close\r\n", b"")
"""After this answer the connection is kept."""


def refusing(status: bytes, body: bytes) -> bytes:
    """Return an answer that refuses, and says when to ask again."""
    return _HEAD % status + b"Retry-After: 7\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


UNAVAILABLE = _HEAD % b"503 Service Unavailable" + b"Content-Length: 0\r\n\r\n"
STREAM_BEGUN = (
    _HEAD % b"200 OK"
    + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"%x\r\n%b\r\n" % (len(_CHUNK), _CHUNK)
)

CHUNK = b"%x\r\n%b\r\n" % (len(_CHUNK), _CHUNK)
"""Another part of a stream that has begun."""

DRIP_S = 0.005


@dataclass(frozen=True, slots=True)
class Received:
    """A completion request as it arrived; names of headers in lower case."""

    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True, kw_only=True)
class Upstream:
    """What the pod does from now on, and what it was asked.

    It sends `answer` to completions and then closes the connection or, when it `stalls`, waits for the
    other side to close it. While not `healthy` it answers probes with an error. When it `drops_idle`, it
    closes a kept connection as soon as another request comes on it. While `silent` it leaves probes, which it
    counts, without an answer. An answer that is `held` waits for that event; `drip` follows it over and over.
    It lists `adapters` of a model `m`, and says whether it is `asleep`.
    """

    answer: bytes = WHOLE
    stalls: bool = False
    healthy: bool = True
    drops_idle: bool = False
    silent: bool = False
    held: asyncio.Event | None = None
    drip: bytes = b""
    probes: int = 0
    adapters: tuple[str, ...] = ()
    asleep: bool = False
    received: list[Received] = field(default_factory=list)
    abandoned: int = 0

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request of a connection, or as many as come while it is kept."""
        with suppress(asyncio.IncompleteReadError, ConnectionError), closing(writer):
            await self._serve(await _read(reader), reader, writer)
            while self.answer is KEPT:
                request = await _read(reader)
                if self.drops_idle:
                    return
                await self._serve(request, reader, writer)

    async def _serve(
        self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if request.target in ("/health", "/v1/models", "/metrics", "/is_sleeping"):
            self.probes += 1
            if self.silent:
                await reader.read()
            writer.write(self._page(request.target) if self.healthy else UNAVAILABLE)
            return
        self.received.append(request)
        if self.held:
            await self.held.wait()
        writer.write(self.answer)
        while self.drip and not reader.at_eof():
            writer.write(self.drip)
            await asyncio.sleep(DRIP_S)
        if self.stalls:
            with suppress(ConnectionError):
                await reader.read()
            self.abandoned += 1

    def _page(self, target: str) -> bytes:
        match target:
            case "/v1/models":
                body = json.dumps({"data": [{"id": name, "parent": "m"} for name in self.adapters]})
            case "/is_sleeping":
                body = json.dumps({"is_sleeping": self.asleep})
            case _:
                return WHOLE
        return _HEAD % b"200 OK" + b"Content-Length: %d\r\n\r\n%b" % (len(body), body.encode())


@asynccontextmanager
async def listening(
    pod: Pod, upstream: Upstream, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Upstream]:
    """Let `upstream` be the pod within the block, behind TLS if given."""
    async with await asyncio.start_server(upstream.serve_one, pod.host, pod.port, ssl=tls):
        yield upstream


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(head[0].split(" ")[1], headers, body)
