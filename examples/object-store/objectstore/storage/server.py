"""A storage server: chunks over gRPC."""

import logging
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc

from objectstore.errors import ChecksumMismatch, Invalid, NotFound
from objectstore.fleet import RESERVE_BYTES
from objectstore.storage.chunks import ChunkFolder, Summary
from objectstore.wire import storage_pb2 as wire
from objectstore.wire import storage_pb2_grpc as service

THREADS = 32
"""How many calls are served at once; more wait."""

GRACE_S = 2.0

log = logging.getLogger(__name__)


class StorageService(service.StorageServicer):  # type: ignore[misc]
    """The calls of wire/storage.proto."""

    def __init__(self, chunks: ChunkFolder) -> None:
        self._chunks = chunks

    def PutChunk(  # noqa: N802
        self, request_iterator: Iterator[wire.PutChunkRequest], context: grpc.ServicerContext
    ) -> wire.PutChunkReply:
        """Keep a chunk whose bytes fit their summary."""
        with _refusals(context):
            first = next(request_iterator, None)
            if first is None or first.WhichOneof("part") != "header":
                raise Invalid("a chunk begins with its header")
            if self._chunks.space()[1] < RESERVE_BYTES:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the disk is full")
            kept = self._chunks.write(first.header.chunk_id, _parts(request_iterator))
            return wire.PutChunkReply(size=kept.size, crc32=kept.crc32)

    def GetChunk(  # noqa: N802
        self, request: wire.GetChunkRequest, context: grpc.ServicerContext
    ) -> Iterator[wire.GetChunkReply]:
        """Send a chunk in pieces."""
        with _refusals(context):
            for piece in self._chunks.read(request.chunk_id, request.offset):
                yield wire.GetChunkReply(data=piece)

    def DeleteChunk(  # noqa: N802
        self, request: wire.DeleteChunkRequest, context: grpc.ServicerContext
    ) -> wire.DeleteChunkReply:
        """Remove a chunk."""
        with _refusals(context):
            self._chunks.delete(request.chunk_id)
        return wire.DeleteChunkReply()

    def Health(  # noqa: N802
        self, request: wire.HealthRequest, context: grpc.ServicerContext
    ) -> wire.HealthReply:
        """Say how much room there is."""
        total, free = self._chunks.space()
        return wire.HealthReply(total_bytes=total, free_bytes=free, chunks=self._chunks.count())


def serve(host: str, port: int, folder: Path) -> None:
    """Serve the chunks in a folder until a signal ends it."""
    server = grpc.server(ThreadPoolExecutor(THREADS), options=[("grpc.so_reuseport", 0)])
    service.add_StorageServicer_to_server(StorageService(ChunkFolder(folder)), server)
    server.add_insecure_port(f"{host}:{port}")
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    server.start()
    log.info("storage server at %s:%s, chunks in %s", host, port, folder)
    over.wait()
    server.stop(GRACE_S).wait()


def _parts(requests: Iterable[wire.PutChunkRequest]) -> Iterator[bytes | Summary]:
    for request in requests:
        match request.WhichOneof("part"):
            case "data":
                yield request.data
            case "summary":
                yield Summary(request.summary.size, request.summary.crc32)
            case other:
                raise Invalid(f"a chunk goes on with data or its summary, not with {other}")


@contextmanager
def _refusals(context: grpc.ServicerContext) -> Iterator[None]:
    """Tell the caller in gRPC's codes what was wrong."""
    try:
        yield
    except NotFound as exc:
        context.abort(grpc.StatusCode.NOT_FOUND, str(exc))
    except ChecksumMismatch as exc:
        context.abort(grpc.StatusCode.DATA_LOSS, str(exc))
    except Invalid as exc:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(exc))
