"""A client of one storage server."""

import zlib
from collections.abc import Iterable, Iterator

import grpc

from objectstore.wire import storage_pb2 as wire
from objectstore.wire import storage_pb2_grpc as service

TIMEOUT_S = 600


class ChunkClient:
    """Chunks of the server at `address` (host:port). Every method raises grpc.RpcError."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address)
        self.stub = service.StorageStub(self._channel)

    def put(self, chunk_id: str, pieces: Iterable[bytes]) -> tuple[int, int]:
        """Store a chunk; return the size and CRC-32 that the server says it has."""
        return self.send(parts(chunk_id, pieces))

    def send(self, requests: Iterable[wire.PutChunkRequest]) -> tuple[int, int]:
        """Store what these messages make."""
        reply = self.stub.PutChunk(iter(requests), timeout=TIMEOUT_S)
        return reply.size, reply.crc32

    def pieces(self, chunk_id: str, offset: int = 0) -> Iterator[bytes]:
        """Yield a chunk as it is sent."""
        request = wire.GetChunkRequest(chunk_id=chunk_id, offset=offset)
        for reply in self.stub.GetChunk(request, timeout=TIMEOUT_S):
            yield reply.data

    def get(self, chunk_id: str) -> bytes:
        """Return a chunk."""
        return b"".join(self.pieces(chunk_id))

    def delete(self, chunk_id: str) -> None:
        """Remove a chunk."""
        self.stub.DeleteChunk(wire.DeleteChunkRequest(chunk_id=chunk_id), timeout=TIMEOUT_S)

    def health(self) -> wire.HealthReply:
        """Return what the server says of its disk."""
        return self.stub.Health(wire.HealthRequest(), timeout=10, wait_for_ready=True)

    def has(self, chunk_id: str) -> bool:
        """Say whether a chunk is there."""
        try:
            for _ in self.pieces(chunk_id):
                pass
        except grpc.RpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise
        return True

    def close(self) -> None:
        """End the connection."""
        self._channel.close()


def parts(chunk_id: str, pieces: Iterable[bytes]) -> Iterator[wire.PutChunkRequest]:
    """Yield the messages of a whole chunk."""
    yield wire.PutChunkRequest(header=wire.ChunkHeader(chunk_id=chunk_id))
    size, crc32 = 0, 0
    for piece in pieces:
        size, crc32 = size + len(piece), zlib.crc32(piece, crc32)
        yield wire.PutChunkRequest(data=piece)
    yield summary(size, crc32)


def summary(size: int, crc32: int) -> wire.PutChunkRequest:
    """Return the last message of a chunk."""
    return wire.PutChunkRequest(summary=wire.ChunkSummary(size=size, crc32=crc32))
