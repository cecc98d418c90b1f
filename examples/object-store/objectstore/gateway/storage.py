"""The gateway's side of the storage servers."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping

import grpc

from objectstore.errors import ChecksumMismatch, Unavailable
from objectstore.storage.chunks import PIECE_BYTES
from objectstore.wire import storage_pb2 as wire
from objectstore.wire import storage_pb2_grpc as service

_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class StorageClient:
    """Calls to storage servers by their addresses; each takes `timeout_s` at most."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def put(self, address: str, chunk_id: str, content: memoryview, crc32: int) -> None:
        """Store a chunk. Raises Unavailable where it was not."""

        async def parts() -> AsyncIterator[wire.PutChunkRequest]:
            yield wire.PutChunkRequest(header=wire.ChunkHeader(chunk_id=chunk_id))
            for start in range(0, len(content), PIECE_BYTES):
                yield wire.PutChunkRequest(data=bytes(content[start : start + PIECE_BYTES]))
            yield wire.PutChunkRequest(summary=wire.ChunkSummary(size=len(content), crc32=crc32))

        try:
            await self._stub(address).PutChunk(parts(), timeout=self._timeout_s)
        except grpc.aio.AioRpcError as exc:
            raise Unavailable(f"storage server {address}: {_said(exc)}") from exc

    async def get(self, address: str, chunk_id: str, crc32: int) -> bytes:
        """Return a chunk. Raises Unavailable, and ChecksumMismatch for other bytes than were stored."""
        request = wire.GetChunkRequest(chunk_id=chunk_id)
        try:
            replies = self._stub(address).GetChunk(request, timeout=self._timeout_s)
            content = b"".join([reply.data async for reply in replies])
        except grpc.aio.AioRpcError as exc:
            raise Unavailable(f"storage server {address}: {_said(exc)}") from exc
        if await asyncio.to_thread(zlib.crc32, content) != crc32:
            raise ChecksumMismatch(f"chunk {chunk_id} of storage server {address} is damaged")
        return content

    async def delete(self, address: str, chunk_id: str) -> None:
        """Remove a chunk, if it is there. Raises Unavailable."""
        try:
            request = wire.DeleteChunkRequest(chunk_id=chunk_id)
            await self._stub(address).DeleteChunk(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as exc:
            if exc.code() is not grpc.StatusCode.NOT_FOUND:
                raise Unavailable(f"storage server {address}: {_said(exc)}") from exc

    async def health(self, address: str, timeout_s: float) -> Mapping[str, int]:
        """Return what a server says of its disk. Raises Unavailable."""
        try:
            reply = await self._stub(address).Health(wire.HealthRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError as exc:
            raise Unavailable(f"storage server {address}: {_said(exc)}") from exc
        return {"free_bytes": reply.free_bytes, "total_bytes": reply.total_bytes}

    async def close(self) -> None:
        """End all connections."""
        for channel in self._channels.values():
            await channel.close()

    def _stub(self, address: str) -> service.StorageStub:
        if address not in self._channels:
            self._channels[address] = grpc.aio.insecure_channel(address, options=_OPTIONS)
        return service.StorageStub(self._channels[address])


def _said(exc: grpc.aio.AioRpcError) -> str:
    return f"{exc.code().name.lower()}: {exc.details()}"
