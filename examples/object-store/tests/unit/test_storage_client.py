"""Calls to storage servers that end otherwise than by an answer, against a server that takes its time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from objectstore.errors import Unavailable
from objectstore.gateway.storage import StorageClient
from objectstore.wire import storage_pb2 as wire
from objectstore.wire import storage_pb2_grpc as service

CONTENT = memoryview(b"content")


class Waiting(service.StorageServicer):
    """Answers no call, and says when one is there."""

    def __init__(self) -> None:
        self.called = asyncio.Event()

    async def PutChunk(self, parts: object, context: object) -> wire.PutChunkReply:  # noqa: N802 - gRPC's
        """Wait."""
        self.called.set()
        await asyncio.Event().wait()
        return wire.PutChunkReply()


@asynccontextmanager
async def putting() -> AsyncIterator[tuple[StorageClient, asyncio.Task[None]]]:
    """Give a client, and its call, which a server has received."""
    waiting, server = Waiting(), grpc.aio.server()
    service.add_StorageServicer_to_server(waiting, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = StorageClient(timeout_s=30)
    put = asyncio.create_task(client.put(f"127.0.0.1:{port}", "chunk-0", CONTENT, 0))
    await asyncio.wait_for(waiting.called.wait(), 20)
    yield client, put
    await client.close()
    await server.stop(0)


def test_a_call_that_is_cut_off() -> None:
    """Is one that failed: what waits for it was not cancelled, and goes on with another server."""

    async def cut_off() -> None:
        async with putting() as (client, put):
            await client.close()
            await put

    with pytest.raises(Unavailable, match="the call was cut off"):
        asyncio.run(cut_off())


def test_a_caller_that_is_cancelled() -> None:
    """Is cancelled, and not told of a failure."""

    async def cancelled() -> bool:
        async with putting() as (_, put):
            put.cancel()
            await asyncio.wait([put])
            return put.cancelled()

    assert asyncio.run(cancelled())
