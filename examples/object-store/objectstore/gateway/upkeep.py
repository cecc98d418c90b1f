"""What the gateway does without being asked: heartbeats, the ring, missing copies, and what is left over.

Any number of gateways may do it at once: each step may be done twice.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from objectstore.errors import Conflict, Invalid, ObjectStoreError, Unavailable
from objectstore.fleet import Fleet
from objectstore.gateway.storage import StorageClient
from objectstore.gateway.store import Store
from objectstore.metadata import Chunk, Metadata
from objectstore.names import chunk_of, server_id
from objectstore.settings import Settings

log = logging.getLogger(__name__)

_AT_ONCE = 100
"""How many chunks of one object are removed before it is the next object's turn."""


class Upkeep:
    """The care for servers and chunks."""

    def __init__(self, metadata: Metadata, storage: StorageClient, store: Store, settings: Settings) -> None:
        self._metadata, self._storage, self._store, self._settings = metadata, storage, store, settings

    async def run(self) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_repeatedly(self.ask_all, self._settings.heartbeat_s))
            tasks.create_task(_repeatedly(self.clean, self._settings.cleaning_s))
            tasks.create_task(_repeatedly(self.repair, self._settings.cleaning_s))

    async def ask_all(self) -> None:
        """Ask every server how it is, and refresh the ring."""
        servers = await self._metadata.servers()
        await asyncio.gather(*(self._ask(server.id, server.address) for server in servers))
        await self._refresh()

    async def add(self, server: str, address: str) -> None:
        """Let a server take part. Raises Invalid, and Unavailable where it does not answer."""
        if not isinstance(address, str) or ":" not in address:
            raise Invalid(f'{address!r} is not an address such as "10.0.0.7:9000"')
        health = await self._storage.health(address, self._settings.storage_timeout_s)
        await self._metadata.add_server(server_id(server), address)
        await self._metadata.heartbeat(server, health)
        await self._refresh()

    async def remove(self, server: str) -> int:
        """Copy the chunks of a server elsewhere and forget it; return how many it had.

        Raises NotFound, Conflict where its chunks cannot go elsewhere, and Unavailable where they cannot be
        read: then it only gets no more.
        """
        await self._metadata.let_leave(server)
        await self._refresh()
        moved = 0
        while held := await self._metadata.held_by(server):
            for chunk in held:
                await self._move(chunk, server)
            moved += len(held)
        await self._metadata.remove_server(server)
        await self._refresh()
        return moved

    async def repair(self) -> None:
        """Copy chunks that have too few copies on servers that take part."""
        taking = self._store.fleet.ring.servers
        copies = min(self._settings.copies, len(taking))
        for chunk in await self._metadata.short_of_copies(taking, copies):
            try:
                await self._store.copy(chunk, copies)
            except Unavailable as exc:
                log.warning("a chunk has too few copies: %s", exc)

    async def clean(self) -> None:
        """Remove uploads that nobody goes on with, and the chunks of what is deleted.

        Objects take turns, a few chunks each: what is small does not wait for what is large.
        """
        await self._metadata.give_up_stale(self._settings.stale_s)
        goes_on = True
        while goes_on:
            remains = await self._metadata.remains(self._settings.grace_s)
            goes_on = any([await self._erase_some(object_id) for object_id in remains])

    async def _erase_some(self, object_id: UUID) -> bool:
        """Remove the next chunks of an object, and it with the last; say whether it needs another turn."""
        chunks = await self._metadata.chunks(object_id, limit=_AT_ONCE)
        try:
            await self._erase(object_id, chunks)
        except Unavailable as exc:
            log.warning("chunks are left for later: %s", exc)
            return False
        return len(chunks) == _AT_ONCE

    async def _erase(self, object_id: UUID, chunks: Sequence[Chunk]) -> None:
        """Remove chunks of an object. Raises Unavailable while a server that has some is silent."""
        fleet = self._store.fleet
        holders = {server for chunk in chunks for server in chunk.servers if server in fleet.servers}
        if silent := holders - fleet.alive():
            raise Unavailable(f"no heartbeat of {', '.join(sorted(silent))}")
        for chunk in chunks:
            name = chunk_of(object_id, chunk.number)
            for server in holders.intersection(chunk.servers):
                await self._storage.delete(fleet.servers[server].address, name)
        await self._metadata.forget(object_id, [chunk.number for chunk in chunks])

    async def _move(self, chunk: Chunk, server: str) -> None:
        """Take a chunk off a server that leaves: before, there are as many copies of it on others."""
        fleet = self._store.fleet
        if not (copies := min(self._settings.copies, len(fleet.ring.servers))):
            raise Conflict(f"the chunks of {server} can go nowhere: no other server takes chunks")
        await self._store.copy(chunk, copies)
        await self._metadata.drop_copy(chunk, server)
        if fleet.is_alive(fleet.servers[server]):
            await self._storage.delete(fleet.servers[server].address, chunk_of(chunk.object_id, chunk.number))

    async def _ask(self, server: str, address: str) -> None:
        try:
            health = await self._storage.health(address, self._settings.heartbeat_s)
        except Unavailable as exc:
            log.warning("no heartbeat of %s: %s", server, exc)
            return
        await self._metadata.heartbeat(server, health)

    async def _refresh(self) -> None:
        fleet = Fleet(await self._metadata.servers(), expiry_s=self._settings.expiry_s)
        if fleet.ring.servers != self._store.fleet.ring.servers:
            log.info("the ring is now: %s", ", ".join(sorted(fleet.ring.servers)) or "empty")
        self._store.fleet = fleet


async def _repeatedly(step: Callable[[], Awaitable[None]], interval_s: float) -> None:
    while True:
        try:
            await step()
        except ObjectStoreError as exc:
            log.warning("upkeep: %s", exc)
        await asyncio.sleep(interval_s)
