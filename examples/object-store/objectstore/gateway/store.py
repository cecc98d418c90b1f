"""Files in chunks: written to the servers that the ring names, read from those that have them."""

import asyncio
import hashlib
import logging
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from objectstore.errors import ChecksumMismatch, Stalled, TooLarge, Unavailable
from objectstore.fleet import Fleet
from objectstore.gateway.storage import StorageClient
from objectstore.metadata import Chunk, Metadata, StoredObject
from objectstore.names import chunk_of
from objectstore.settings import Settings

log = logging.getLogger(__name__)


class Digest(Protocol):
    """A hash that is being computed, as hashlib has it."""

    def update(self, content: bytes, /) -> None:
        """Go on with these bytes."""

    def hexdigest(self) -> str:
        """Return the hash so far."""


class Store:
    """What the gateway does with files. `fleet` is replaced by upkeep."""

    def __init__(self, metadata: Metadata, storage: StorageClient, settings: Settings) -> None:
        self._metadata, self._storage, self._settings = metadata, storage, settings
        self.fleet = Fleet(expiry_s=settings.expiry_s)

    async def upload(
        self, name: str, content_type: str, body: AsyncIterator[bytes], expected_sha256: str | None
    ) -> StoredObject:
        """Store a file and make it visible, as a whole or not at all.

        Raises TooLarge, Stalled, ChecksumMismatch, Unavailable, Conflict, and what `body` raises.
        """
        object_id = await self._metadata.begin(name, content_type)
        try:
            size, sha256 = await self._receive(object_id, body)
            if expected_sha256 and expected_sha256.lower() != sha256:
                raise ChecksumMismatch(f"received bytes with SHA-256 {sha256}, announced {expected_sha256}")
            return await self._metadata.publish(object_id, name, size, sha256)
        except BaseException:
            with suppress(Unavailable):  # upkeep gives it up later
                await asyncio.shield(self._metadata.give_up(object_id))
            raise

    async def download(self, stored: StoredObject) -> AsyncIterator[bytes]:
        """Yield a file chunk by chunk, the next being fetched meanwhile. Raises Unavailable."""
        chunks = await self._metadata.chunks(stored.id)
        coming = asyncio.create_task(self.read(chunks[0])) if chunks else None
        try:
            for following in [*chunks[1:], None]:
                if coming is None:
                    return
                content = await coming
                coming = asyncio.create_task(self.read(following)) if following else None
                yield content
        finally:
            if coming:
                coming.cancel()

    async def read(self, chunk: Chunk) -> bytes:
        """Return a chunk from the first server that has it whole. Raises Unavailable."""
        chunk_id = chunk_of(chunk.object_id, chunk.number)
        for server in (fleet := self.fleet).readable(chunk.servers):
            try:
                return await self._storage.get(fleet.servers[server].address, chunk_id, chunk.crc32)
            except (Unavailable, ChecksumMismatch) as exc:
                log.warning("%s", exc)
        raise Unavailable(f"chunk {chunk_id} cannot be read from any of {', '.join(chunk.servers)}")

    async def copy(self, chunk: Chunk, copies: int) -> None:
        """See that a chunk is on so many servers that take chunks. Raises Unavailable."""
        ring = self.fleet.ring
        missing = copies - len(ring.servers.intersection(chunk.servers))
        if missing <= 0:
            return
        walk = ring.walk(chunk_of(chunk.object_id, chunk.number))
        new = [each for each in walk if each not in chunk.servers]
        content = await self.read(chunk)
        await self._metadata.add_copies(chunk, await self._put(chunk, memoryview(content), new, missing))

    async def _receive(self, object_id: UUID, body: AsyncIterator[bytes]) -> tuple[int, str]:
        """Store what comes; return its size and SHA-256. One chunk is being sent while the next comes in."""
        size, number, digest = 0, 0, hashlib.sha256()
        sending: asyncio.Task[None] | None = None
        try:
            async for content in _in_chunks(self._in_time(body), self._settings.chunk_bytes):
                size += len(content)
                if size > self._settings.max_bytes:
                    raise TooLarge(f"a file may have {self._settings.max_bytes} bytes at most")
                if sending:
                    await sending
                sending = asyncio.create_task(self._write(object_id, number, content, digest))
                number += 1
            if sending:
                await sending
        except BaseException:
            if sending:
                sending.cancel()
                await asyncio.wait([sending])
            raise
        return size, digest.hexdigest()

    async def _write(self, object_id: UUID, number: int, content: bytes, digest: Digest) -> None:
        await asyncio.to_thread(digest.update, content)
        crc32 = await asyncio.to_thread(zlib.crc32, content)
        walk = self.fleet.ring.walk(chunk_of(object_id, number))
        # Of all that may get it: a gateway that is killed leaves nothing that cannot be found.
        chunk = Chunk(object_id=object_id, number=number, size=len(content), crc32=crc32, servers=walk)
        await self._metadata.add_chunk(chunk)
        stored = await self._put(chunk, memoryview(content), walk, self._settings.copies)
        if sorted(stored) != sorted(walk):
            await self._metadata.settle_chunk(replace(chunk, servers=stored))

    async def _put(
        self, chunk: Chunk, content: memoryview, candidates: Sequence[str], copies: int
    ) -> list[str]:
        """Store a chunk on the first `copies` candidates that take it; return these. Raises Unavailable.

        With fewer servers than copies, there are fewer until upkeep finds more.
        """
        chunk_id, fleet = chunk_of(chunk.object_id, chunk.number), self.fleet
        stored: list[str] = []
        waiting = list(candidates)
        while waiting and len(stored) < copies:
            now, waiting = waiting[: copies - len(stored)], waiting[copies - len(stored) :]
            puts = [
                self._storage.put(fleet.servers[each].address, chunk_id, content, chunk.crc32) for each in now
            ]
            results = await asyncio.gather(*puts, return_exceptions=True)
            for server, failure in zip(now, results, strict=True):
                if failure is None:
                    stored.append(server)
                elif isinstance(failure, Unavailable):
                    log.warning("%s", failure)
                else:
                    raise failure
        if not stored:
            raise Unavailable("no storage server takes chunks now; try again")
        return stored

    async def _in_time(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        stall_s = self._settings.stall_s
        while True:
            try:
                async with asyncio.timeout(stall_s):
                    piece = await anext(body, None)
            except TimeoutError as exc:
                raise Stalled(f"nothing came for {stall_s:g} s; the upload was given up") from exc
            if piece is None:
                return
            yield piece


async def _in_chunks(pieces: AsyncIterator[bytes], chunk_bytes: int) -> AsyncIterator[bytes]:
    """Yield the same bytes in chunks of this size, the last of which may be shorter."""
    waiting: list[bytes] = []
    size = 0
    async for piece in pieces:
        while size + len(piece) >= chunk_bytes:
            cut = chunk_bytes - size
            yield b"".join([*waiting, piece[:cut]])
            piece, waiting, size = piece[cut:], [], 0
        if piece:
            waiting.append(piece)
            size += len(piece)
    if waiting:
        yield b"".join(waiting)
