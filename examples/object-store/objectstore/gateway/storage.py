"""The gateway's side of the storage servers."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager

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

        with _calling(address):
            await self._stub(address).PutChunk(parts(), timeout=self._timeout_s)

    async def get(self, address: str, chunk_id: str, crc32: int) -> bytes:
        """Return a chunk. Raises Unavailable, and ChecksumMismatch for other bytes than were stored."""
        request = wire.GetChunkRequest(chunk_id=chunk_id)
        with _calling(address):
            replies = self._stub(address).GetChunk(request, timeout=self._timeout_s)
            content = b"".join([reply.data async for reply in replies])
        if await asyncio.to_thread(zlib.crc32, content) != crc32:
            raise ChecksumMismatch(f"chunk {chunk_id} of storage server {address} is damaged")
        return content

    async def delete(self, address: str, chunk_id: str) -> None:
        """Remove a chunk, if it is there. Raises Unavailable."""
        request = wire.DeleteChunkRequest(chunk_id=chunk_id)
        with _calling(address):
            try:
                await self._stub(address).DeleteChunk(request, timeout=self._timeout_s)
            except grpc.aio.AioRpcError as exc:
                if exc.code() is not grpc.StatusCode.NOT_FOUND:
                    raise

    async def health(self, address: str, timeout_s: float) -> Mapping[str, int]:
        """Return what a server says of its disk. Raises Unavailable."""
        with _calling(address):
            reply = await self._stub(address).Health(wire.HealthRequest(), timeout=timeout_s)
        return {"free_bytes": reply.free_bytes, "total_bytes": reply.total_bytes}

    async def close(self) -> None:
        """End all connections."""
        for channel in self._channels.values():
            await channel.close()

    def _stub(self, address: str) -> service.StorageStub:
        if address not in self._channels:
            self._channels[address] = grpc.aio.insecure_channel(address, options=_OPTIONS)
        return service.StorageStub(self._channels[address])


@contextmanager
def _calling(address: str) -> Iterator[None]:
    """Raise Unavailable where a call fails; of some that ended by themselves gRPC says they are cancelled."""
    try:
        yield
    except grpc.aio.AioRpcError as exc:
        said = f"{exc.code().name.lower()}: {exc.details()}"
        raise Unavailable(f"storage server {address}: {said}") from exc
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unavailable(f"storage server {address}: the call was cut off") from exc
