"""A double of a Kubernetes API server that knows nothing but pods, and how to fail.

It speaks real HTTP on loopback: lists, and watches with versions, selectors, bookmarks and `timeoutSeconds`.
What happened long ago it forgets when told to, and then answers 410 Gone. It can be slow or away, reset its
connections, say nothing at all, or refuse every request.
"""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Literal, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

Json = dict[str, object]


def pod_manifest(
    name: str,
    *,
    namespace: str = "default",
    ip: str = "10.0.0.1",
    ready: bool = True,
    deleted_at: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Json:
    """A running engine of the model qwen, as the API server writes it; labels may say something else."""
    enabled = {"model.aibrix.ai/kv-events-enabled": "true", "model.aibrix.ai/name": "qwen"}
    metadata: Json = {"name": name, "namespace": namespace, "labels": enabled | dict(labels or {})}
    if annotations:
        metadata["annotations"] = dict(annotations)
    if deleted_at:
        metadata["deletionTimestamp"] = deleted_at
    conditions = [{"type": "Ready", "status": str(ready)}]
    status = {"phase": "Running", "podIP": ip, "conditions": conditions}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request for pods; `since` is the version that a watch goes on from, None for a list."""

    path: str
    since: str | None
    token: str


class _Change(NamedTuple):
    """A pod before and after; neither: something else of the cluster changed."""

    version: int
    before: Json | None
    after: Json | None


class _Refusal(NamedTuple):
    status: int
    body: str
    watches_only: bool


class FakeApiServer:
    """Serves from `async with` on; `asked` has every request for pods, in order.

    Each answer comes after `delay_s`. `gone_as` says how 410 is reported: as the status of the answer to a
    watch, or as its first event; the real one does either.
    """

    def __init__(self, gone_as: Literal["status", "event"] = "event") -> None:
        self.asked: list[Asked] = []
        self.watching = 0
        self.delay_s = 0.0
        self._gone_as = gone_as
        self._port = 0
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._version = 100
        self._forgotten = 0
        self._pods: dict[tuple[str, str], Json] = {}
        self._changes: list[_Change] = []
        self._news = asyncio.Event()
        self._speaking = asyncio.Event()
        self._speaking.set()
        self._refusal: _Refusal | None = None

    async def __aenter__(self) -> Self:
        await self.back()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.away()

    @property
    def url(self) -> str:
        """Where it listens, also while it is away."""
        return f"http://127.0.0.1:{self._port}"

    def kubeconfig(self, path: Path, *, bearer: str = "t", namespace: str | None = None) -> Path:
        """Write a kubeconfig whose context `fake` leads here."""
        context = {"cluster": "fake", "user": "me"} | ({"namespace": namespace} if namespace else {})
        content = {
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": context}],
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": bearer}}],
        }
        path.write_text(json.dumps(content))
        return path

    def put(self, manifest: Json) -> None:
        """Create or replace a pod."""
        self._version += 1
        metadata: Json = {**_mapping(manifest["metadata"]), "resourceVersion": str(self._version)}
        key = str(metadata["namespace"]), str(metadata["name"])
        after = {**manifest, "metadata": metadata}
        self._tell(_Change(self._version, self._pods.get(key), after))
        self._pods[key] = after

    def delete(self, name: str, namespace: str = "default") -> None:
        """Remove a pod at once."""
        self._version += 1
        self._tell(_Change(self._version, self._pods.pop((namespace, name)), None))

    def bookmark(self) -> None:
        """Let something else change, and tell the new version to the watches that asked for bookmarks."""
        self._version += 1
        self._tell(_Change(self._version, None, None))

    def forget(self) -> None:
        """Answer 410 to watches from an older version than the newest."""
        self._forgotten = self._version

    def refuse(self, status: int, body: str | None = None, *, watches_only: bool = False) -> None:
        """Answer so, by default with a Status, until `accept`; open watches go on."""
        content = _status(status, "because the test says so") if body is None else body
        self._refusal = _Refusal(status, content, watches_only)

    def accept(self) -> None:
        """Answer requests again."""
        self._refusal = None

    def stall(self) -> None:
        """Say nothing more, on no connection, though all stay open."""
        self._speaking.clear()

    def resume(self) -> None:
        """Go on after `stall`."""
        self._speaking.set()

    def cut(self) -> None:
        """Reset all connections."""
        for task, writer in self._connections.items():
            stream: socket.socket = writer.get_extra_info("socket")
            with suppress(OSError):  # the client may have closed it
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            task.cancel()

    async def away(self) -> None:
        """Refuse connections and reset those there are."""
        if server := self._server:
            server.close()
        tasks = tuple(self._connections)
        self.cut()
        await asyncio.gather(*tasks)

    async def back(self) -> None:
        """Listen again, at the same address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def _tell(self, change: _Change) -> None:
        self._changes.append(change)
        self._news.set()
        self._news = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._answer(head.decode(), reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            del self._connections[task]

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = urlsplit(head.split(" ", 2)[1])
        query = dict(parse_qsl(target.query))
        watch = query.get("watch", "").lower() == "true"
        since = query.get("resourceVersion", "") if watch else None
        token = head.partition("uthorization: Bearer ")[2].partition("\r\n")[0]
        self.asked.append(Asked(path=target.path, since=since, token=token))
        await asyncio.sleep(self.delay_s)
        await self._speaking.wait()
        if (refusal := self._refusal) and (watch or not refusal.watches_only):
            await self._send(writer, refusal.status, refusal.body)
        elif since is None:
            wanted = [pod for pod in self._pods.values() if _selected(pod, target.path, query)]
            items = {"metadata": {"resourceVersion": str(self._version)}, "items": wanted}
            await self._send(writer, HTTPStatus.OK, json.dumps({"kind": "PodList", **items}))
        elif int(since) < self._forgotten and self._gone_as == "status":
            await self._send(writer, HTTPStatus.GONE, _status(HTTPStatus.GONE, "too old resource version"))
        else:
            async with self._watched_by(reader):
                await self._stream(writer, int(since), target.path, query)

    @asynccontextmanager
    async def _watched_by(self, reader: asyncio.StreamReader) -> AsyncIterator[None]:
        """Count an open watch, and stop when its client closes: it sends nothing else during a watch."""
        task, closed = asyncio.current_task(), asyncio.create_task(reader.read(1))
        assert task is not None
        closed.add_done_callback(lambda ended: ended.cancelled() or task.cancel())
        self.watching += 1
        try:
            yield
        finally:
            self.watching -= 1
            closed.cancel()
            await asyncio.wait([closed])  # two cannot read: the next request is read after this

    async def _send(self, writer: asyncio.StreamWriter, status: int, body: str) -> None:
        content = body.encode()
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()

    async def _stream(
        self, writer: asyncio.StreamWriter, since: int, path: str, query: Mapping[str, str]
    ) -> None:
        """Send what happened after a version, and what happens, until the time is over."""
        until = asyncio.get_running_loop().time() + float(query["timeoutSeconds"])
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        if since < self._forgotten:
            gone = json.loads(_status(HTTPStatus.GONE, f"too old resource version: {since}"))
            writer.write(_chunk({"type": "ERROR", "object": gone}) + _END)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while True:
                    news = self._news
                    for change in self._changes:
                        if change.version > since and (event := _event(change, path, query)):
                            writer.write(_chunk(event))
                    since = self._version
                    await news.wait()
                    await self._speaking.wait()
        await self._speaking.wait()
        writer.write(_END)


_END = b"0\r\n\r\n"


def _chunk(event: Json) -> bytes:
    line = json.dumps(event).encode() + b"\n"
    return f"{len(line):x}\r\n".encode() + line + b"\r\n"


def _status(code: int, message: str) -> str:
    return json.dumps(
        {"kind": "Status", "metadata": {}, "status": "Failure", "message": message, "code": code}
    )


def _event(change: _Change, path: str, query: Mapping[str, str]) -> Json | None:
    """What a watch with this selection is told of a change: pods come and go as their labels change."""
    version = {"resourceVersion": str(change.version)}
    if change.before is change.after is None:
        asked = query.get("allowWatchBookmarks", "").lower() == "true"
        return {"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": version}} if asked else None
    before = change.before if change.before and _selected(change.before, path, query) else None
    after = change.after if change.after and _selected(change.after, path, query) else None
    if after:
        return {"type": "MODIFIED" if before else "ADDED", "object": after}
    if before:
        last = {**before, "metadata": {**_mapping(before["metadata"]), **version}}
        return {"type": "DELETED", "object": last}
    return None


def _selected(pod: Json, path: str, query: Mapping[str, str]) -> bool:
    metadata = _mapping(pod["metadata"])
    labels = _mapping(metadata["labels"])
    there = path in ("/api/v1/pods", f"/api/v1/namespaces/{metadata['namespace']}/pods")
    wanted = [term.split("=") for term in query.get("labelSelector", "").split(",") if term]
    return there and all(labels.get(key) == value for key, value in wanted)


def _mapping(value: object) -> Json:
    assert isinstance(value, dict)
    return value
