"""One storage server, spoken to directly."""

import shutil
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from chunk_client import ChunkClient, parts, summary
from cluster import Cluster
from content import Content, readable, sha256
from sizes import MB, Sizes, demand

from objectstore.ring import HashRing
from objectstore.wire import storage_pb2 as wire

DEMANDED = 200 * MB
"""Bytes per second of a stream, in the profile `full`."""


@pytest.fixture
def chunk_id() -> str:
    """Give an id that no other test has."""
    return f"test-{uuid4().hex}"


def test_put_chunk_success(storage: ChunkClient, chunk_id: str, sizes: Sizes) -> None:
    """A chunk of 1 GB is stored, and acknowledged with its size and checksum."""
    content = Content(1, sizes.chunk)
    crc32 = 0
    for piece in content:
        crc32 = zlib.crc32(piece, crc32)

    assert storage.put(chunk_id, content) == (content.size, crc32)
    storage.delete(chunk_id)


@pytest.mark.parametrize("given", ["", "ab", "../up", "a/b", "a.b", "-abc", "a" * 129, "ä-b", "a\0b"])
def test_put_chunk_invalid_chunk_id(storage: ChunkClient, given: str) -> None:
    """What could be a path, and what is too long, is not an id of a chunk."""
    with pytest.raises(grpc.RpcError) as refused:
        storage.put(given, [b"x"])

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ([summary(4, zlib.crc32(b"abc"))], grpc.StatusCode.DATA_LOSS),
        ([summary(3, 1)], grpc.StatusCode.DATA_LOSS),
        ([], grpc.StatusCode.DATA_LOSS),
        ([wire.PutChunkRequest(header=wire.ChunkHeader(chunk_id="x"))], grpc.StatusCode.INVALID_ARGUMENT),
        ([wire.PutChunkRequest()], grpc.StatusCode.INVALID_ARGUMENT),
    ],
    ids=["other size", "other checksum", "no summary", "two headers", "nothing"],
)
def test_put_chunk_incomplete(
    storage: ChunkClient, chunk_id: str, end: list[wire.PutChunkRequest], code: grpc.StatusCode
) -> None:
    """A stream that is not what its summary says leaves no chunk."""
    whole = list(parts(chunk_id, [b"abc"]))

    with pytest.raises(grpc.RpcError) as refused:
        storage.send([*whole[:-1], *end])

    assert refused.value.code() is code
    assert not storage.has(chunk_id)


def test_put_chunk_without_header(storage: ChunkClient) -> None:
    """A stream that does not say which chunk it is, or nothing at all, is refused."""
    for sent in ([], [wire.PutChunkRequest(data=b"x")]):
        with pytest.raises(grpc.RpcError) as refused:
            storage.send(sent)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_get_chunk_success(storage: ChunkClient, chunk_id: str) -> None:
    """A chunk comes back in several messages, from its beginning or from an offset."""
    content = Content(2, 3 * MB)
    storage.put(chunk_id, content)

    pieces = list(storage.pieces(chunk_id))

    assert len(pieces) > 1
    assert sha256(pieces) == (content.size, content.sha256())
    assert b"".join(storage.pieces(chunk_id, offset=content.size - 10)) == content.read()[-10:]
    assert list(storage.pieces(chunk_id, offset=content.size)) == []


def test_get_chunk_not_found(storage: ChunkClient, chunk_id: str) -> None:
    """A chunk that is not there cannot be read."""
    with pytest.raises(grpc.RpcError) as refused:
        storage.get(chunk_id)

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_delete_chunk_success(storage: ChunkClient, chunk_id: str) -> None:
    """A chunk that is deleted is gone, and cannot be deleted again."""
    storage.put(chunk_id, [b"x"])

    storage.delete(chunk_id)

    assert not storage.has(chunk_id)
    with pytest.raises(grpc.RpcError) as refused:
        storage.delete(chunk_id)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_check(tmp_path: Path) -> None:
    """A server says how large its disk is, how much of it is free, and how many chunks it has."""
    with Cluster("no database", tmp_path) as own:
        own.storage("own")
        storage = own.chunk_client("own")
        storage.put("first", [b"x"])
        storage.put("second", [b"y"])
        health, disk = storage.health(), shutil.disk_usage(tmp_path)

    assert health.chunks == 2
    assert health.total_bytes == disk.total
    assert abs(health.free_bytes - disk.free) < disk.total / 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_streaming_performance(
    storage: ChunkClient, chunk_id: str, sizes: Sizes, record_property: Callable[[str, object], None]
) -> None:
    """A stream moves more than 200 MB per second each way, where machines are there for it: in `full`."""
    content = Content(3, sizes.stream)
    rates = {}
    for way, move in (
        ("write", lambda: storage.put(chunk_id, content)),
        ("read", lambda: sum(map(len, storage.pieces(chunk_id)))),
    ):
        began = time.perf_counter()
        move()
        rates[way] = content.size / (time.perf_counter() - began)
        record_property(f"{way}_mb_per_s", round(rates[way] / MB, 1))
    storage.delete(chunk_id)

    demand(rates, DEMANDED, sizes)


@pytest.mark.concurrent
def test_concurrent_streams(storage: ChunkClient, chunk_id: str) -> None:
    """Writers of one chunk are not mixed: whoever reads meanwhile gets one of them whole."""
    contents = [Content(seed, 2 * MB) for seed in range(6)]
    storage.put(chunk_id, contents[0])

    with ThreadPoolExecutor(12) as threads:
        writers = [threads.submit(storage.put, chunk_id, each) for each in contents]
        readers = [threads.submit(storage.get, chunk_id) for _ in range(20)]
        read = {reader.result() for reader in readers}
        for writer in writers:
            writer.result()

    assert {*read, storage.get(chunk_id)} <= {each.read() for each in contents}


def test_chunk_distribution(storages: dict[str, ChunkClient]) -> None:
    """Chunks that go where the ring says are there and nowhere else, and every server has its share."""
    ring, run = HashRing(storages), uuid4().hex
    homes = {f"{run}-{number}": ring.walk(f"{run}-{number}")[:2] for number in range(60)}
    for chunk, servers in homes.items():
        for server in servers:
            storages[server].put(chunk, [chunk.encode()])

    found = {chunk: {server for server, client in storages.items() if client.has(chunk)} for chunk in homes}

    assert found == {chunk: set(servers) for chunk, servers in homes.items()}
    shares = [sum(server in servers for servers in homes.values()) for server in storages]
    assert min(shares) >= 20, shares


@pytest.mark.slow
@pytest.mark.large_file
@pytest.mark.timeout(1800)
def test_large_chunk_handling(storage: ChunkClient, chunk_id: str, sizes: Sizes) -> None:
    """A chunk of 1.67 GB, a sixth of the largest file, comes back as it was sent."""
    content = Content(4, sizes.large_chunk)
    if storage.health().free_bytes < content.size * 1.2:
        pytest.skip(f"no room for {readable(content.size)}")

    storage.put(chunk_id, content)

    assert sha256(storage.pieces(chunk_id)) == (content.size, content.sha256())
    storage.delete(chunk_id)
