"""Metadata in PostgreSQL: the files, the servers that their chunks are on, and the storage servers.

An object has one of three states. It is `uploading` until all its chunks are stored, then `visible` under its
name, until it is replaced or removed: `deleted`. Chunks never move from one object to another, so that two
writers of one name cannot be mixed.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from objectstore.errors import Conflict, NotFound, Unavailable
from objectstore.fleet import Server

APPLICATION = "object-store"
"""By which the server names our connections in pg_stat_activity."""

SCHEMA = Path(__file__).with_name("schema.sql")

_SCHEMA_LOCK = 0x0B_1EC7
"""Gateways that start together make the tables one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """A file as it is visible."""

    id: UUID
    name: str
    content_type: str
    size: int
    sha256: str
    changed_at: datetime

    def described(self) -> dict[str, object]:
        """Return what clients are told."""
        return {
            "name": self.name,
            "content_type": self.content_type,
            "size": self.size,
            "sha256": self.sha256,
            "changed_at": self.changed_at.isoformat(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A part of an object: its bytes are on all `servers`, or on none before they were stored."""

    object_id: UUID
    number: int
    size: int
    crc32: int
    servers: Sequence[str]


T = TypeVar("T")

_COLUMNS = "id, name, content_type, size, sha256, changed_at"
_VISIBLE = f"SELECT {_COLUMNS} FROM object WHERE state = 'visible'"
_CHUNKS = "SELECT object_id, number, size, crc32, servers FROM chunk"


class Metadata:
    """The tables of one database, over a pool of connections."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def page(self, *, prefix: str, after: str, limit: int) -> list[StoredObject]:
        """Return up to `limit` files whose names begin so, after `after`, in the order of their bytes."""
        query = (
            f'{_VISIBLE} AND name COLLATE "C" > %s AND starts_with(name, %s) '
            'ORDER BY name COLLATE "C" LIMIT %s'
        )
        return await self._all(StoredObject, query, (after, prefix, limit))

    async def find(self, name: str) -> StoredObject:
        """Return a visible file. Raises NotFound."""
        if found := await self._all(StoredObject, f'{_VISIBLE} AND name COLLATE "C" = %s', (name,)):
            return found[0]
        raise NotFound(f"there is no file {name!r}")

    async def begin(self, name: str, content_type: str) -> UUID:
        """Write down an upload that begins; return the object's id."""
        new = uuid4()
        insert = "INSERT INTO object (id, name, content_type) VALUES (%s, %s, %s)"
        await self._execute(insert, (new, name, content_type))
        return new

    async def add_chunk(self, chunk: Chunk) -> None:
        """Write down where a chunk is going to be. Raises Conflict where its upload is no longer one."""
        touched = "UPDATE object SET changed_at = now() WHERE id = %s AND state = 'uploading' RETURNING id"
        values = (chunk.object_id, chunk.number, chunk.size, chunk.crc32, list(chunk.servers))
        insert = (
            f"WITH upload AS ({touched}) INSERT INTO chunk (object_id, number, size, crc32, servers) "
            "SELECT id, %s, %s, %s, %s FROM upload"
        )
        if not await self._execute(insert, values):
            raise Conflict("the upload was given up: nothing came for too long")

    async def settle_chunk(self, chunk: Chunk) -> None:
        """Write down where a chunk is, once it was stored."""
        update = "UPDATE chunk SET servers = %s WHERE object_id = %s AND number = %s"
        await self._execute(update, (list(chunk.servers), chunk.object_id, chunk.number))

    async def add_copies(self, chunk: Chunk, servers: Sequence[str]) -> None:
        """Write down more servers that have a chunk, whatever others changed meanwhile."""
        update = (
            "UPDATE chunk SET servers = ARRAY(SELECT DISTINCT unnest(servers || %s::text[])) "
            "WHERE object_id = %s AND number = %s"
        )
        await self._execute(update, (list(servers), chunk.object_id, chunk.number))

    async def drop_copy(self, chunk: Chunk, server: str) -> None:
        """Write down that a server no longer has a chunk."""
        update = "UPDATE chunk SET servers = array_remove(servers, %s) WHERE object_id = %s AND number = %s"
        await self._execute(update, (server, chunk.object_id, chunk.number))

    async def chunks(self, object_id: UUID, limit: int | None = None) -> list[Chunk]:
        """Return the chunks of an object in their order, all or the first."""
        query = f"{_CHUNKS} WHERE object_id = %s ORDER BY number LIMIT %s"
        return await self._all(Chunk, query, (object_id, limit))

    async def publish(self, object_id: UUID, name: str, size: int, sha256: str) -> StoredObject:
        """Make an uploaded object the visible one of its name. Raises Conflict where it is no longer one."""
        async with self._connection() as connection, connection.transaction():
            # Writers of one name take turns, or both would find no predecessor.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))
            await connection.execute(f'{_DELETE} AND name COLLATE "C" = %s', (name,))
            update = (
                "UPDATE object SET state = 'visible', size = %s, sha256 = %s, changed_at = now() "
                f"WHERE id = %s AND state = 'uploading' RETURNING {_COLUMNS}"
            )
            async with connection.cursor(row_factory=class_row(StoredObject)) as cursor:
                await cursor.execute(update, (size, sha256, object_id))
                published = await cursor.fetchone()
            if published is None:
                raise Conflict("the upload was given up: nothing came for too long")
        return published

    async def delete(self, name: str) -> None:
        """Take a file out of sight; its chunks are removed later. Raises NotFound."""
        if not await self._execute(f'{_DELETE} AND name COLLATE "C" = %s', (name,)):
            raise NotFound(f"there is no file {name!r}")

    async def give_up(self, object_id: UUID) -> None:
        """Mark an upload as one that will not be finished."""
        update = (
            "UPDATE object SET state = 'deleted', changed_at = now() WHERE id = %s AND state = 'uploading'"
        )
        await self._execute(update, (object_id,))

    async def give_up_stale(self, stale_s: float) -> None:
        """Mark the uploads for which nothing came for so long: their gateway is gone."""
        update = (
            "UPDATE object SET state = 'deleted', changed_at = now() "
            "WHERE state = 'uploading' AND changed_at < now() - make_interval(secs => %s)"
        )
        await self._execute(update, (stale_s,))

    async def remains(self, grace_s: float) -> list[UUID]:
        """Return objects that are deleted for so long that no reader is left."""
        query = (
            "SELECT id FROM object WHERE state = 'deleted' "
            "AND changed_at < now() - make_interval(secs => %s) ORDER BY changed_at LIMIT 1000"
        )
        async with self._connection() as connection:
            return [row[0] for row in await (await connection.execute(query, (grace_s,))).fetchall()]

    async def forget(self, object_id: UUID, numbers: Sequence[int]) -> None:
        """Remove what is known of these chunks of an object, and with its last chunk the object."""
        chunks = "DELETE FROM chunk WHERE object_id = %s AND number = ANY(%s)"
        emptied = (
            "DELETE FROM object WHERE id = %s AND NOT EXISTS (SELECT FROM chunk WHERE object_id = object.id)"
        )
        async with self._connection() as connection, connection.transaction():
            await connection.execute(chunks, (object_id, list(numbers)))
            await connection.execute(emptied, (object_id,))

    async def short_of_copies(self, healthy: Iterable[str], copies: int, limit: int = 1000) -> list[Chunk]:
        """Return chunks of visible files that have fewer copies on `healthy` servers than they should."""
        query = (
            f"{_CHUNKS} JOIN object ON object.id = object_id WHERE state = 'visible' AND "
            "cardinality(ARRAY(SELECT unnest(servers) INTERSECT SELECT unnest(%s::text[]))) < %s LIMIT %s"
        ).replace("size, crc32", "chunk.size, crc32")
        return await self._all(Chunk, query, (list(healthy), copies, limit))

    async def held_by(self, server: str, limit: int = 1000) -> list[Chunk]:
        """Return chunks that a server has, of visible files and others."""
        return await self._all(Chunk, f"{_CHUNKS} WHERE %s = ANY(servers) LIMIT %s", (server, limit))

    async def servers(self) -> list[Server]:
        """Return all storage servers."""
        query = (
            "SELECT id, address, is_leaving, free_bytes, total_bytes, "
            "extract(epoch FROM now() - last_heartbeat)::float8 AS silent_s FROM server ORDER BY id"
        )
        return await self._all(Server, query, ())

    async def add_server(self, server: str, address: str) -> None:
        """Write down a storage server, or its new address."""
        insert = (
            "INSERT INTO server (id, address) VALUES (%s, %s) "
            "ON CONFLICT (id) DO UPDATE SET address = excluded.address, is_leaving = false"
        )
        await self._execute(insert, (server, address))

    async def heartbeat(self, server: str, health: Mapping[str, int]) -> None:
        """Write down that a server answered, and what it said of its disk."""
        update = (
            "UPDATE server SET last_heartbeat = now(), free_bytes = %(free_bytes)s, "
            "total_bytes = %(total_bytes)s WHERE id = %(id)s"
        )
        await self._execute(update, {**health, "id": server})

    async def let_leave(self, server: str) -> None:
        """Mark a server as one that gets no more chunks. Raises NotFound."""
        if not await self._execute("UPDATE server SET is_leaving = true WHERE id = %s", (server,)):
            raise NotFound(f"there is no server {server!r}")

    async def remove_server(self, server: str) -> None:
        """Remove a server."""
        await self._execute("DELETE FROM server WHERE id = %s", (server,))

    async def _all(self, row: type[T], query: str, values: Sequence[object]) -> list[T]:
        async with self._connection() as connection, connection.cursor(row_factory=class_row(row)) as cursor:
            await cursor.execute(query, values)
            return await cursor.fetchall()

    async def _execute(self, statement: str, values: Sequence[object] | Mapping[str, object]) -> int:
        async with self._connection() as connection:
            return (await connection.execute(statement, values)).rowcount

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except PoolTimeout as exc:
            raise Unavailable("all connections to the metadata are in use; try again") from exc
        except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
            raise Unavailable(f"the metadata cannot be reached: {' '.join(str(exc).split())}") from exc


_DELETE = "UPDATE object SET state = 'deleted', changed_at = now() WHERE state = 'visible'"


@asynccontextmanager
async def connected(url: str, *, connections: int, wait_s: float) -> AsyncIterator[Metadata]:
    """Give the metadata in a database, whose tables are made where they are not there."""
    pool = AsyncConnectionPool(
        url,
        min_size=min(4, connections),
        max_size=connections,
        timeout=wait_s,
        open=False,
        kwargs={"application_name": APPLICATION, "autocommit": True, "connect_timeout": 5},
        check=AsyncConnectionPool.check_connection,
    )
    async with pool:
        async with pool.connection(timeout=30) as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
            await connection.execute(SCHEMA.read_bytes())
        yield Metadata(pool)
