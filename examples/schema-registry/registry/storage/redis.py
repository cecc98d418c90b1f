"""The second level: Redis, shared by all processes, which also tell each other by it what changed.

A record is a hash of its revision and its JSON. A script compares revisions and writes in one step.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from registry.core import Key, Record
from registry.errors import LevelFailed

PREFIX = "schema:"
CHANNEL = "schema-changes"

CLEAR_S = 30.0
"""How long it may take to forget everything."""

AT_ONCE = 500

NEWER = """
local known = tonumber(redis.call('HGET', KEYS[1], 'revision') or '0')
if tonumber(ARGV[1]) < known then return 0 end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'record', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
"""Writes an entry unless a newer one is there; an entry without a record is the mark of a removal."""

_Answer = TypeVar("_Answer")


def redis_at(url: str, *, connections: int = 32) -> Redis:
    """Return a client that tries once more, at once: a level that fails is a miss, and not waited for."""
    return Redis.from_url(url, max_connections=connections, retry=Retry(NoBackoff(), 1))


class RedisLevel:
    """Keeps records for `ttl_s`; each command may take `timeout_s`."""

    name = "redis"

    def __init__(self, client: Redis, *, ttl_s: float = 3600.0, timeout_s: float = 0.5) -> None:
        self._client = client
        self._ttl_ms = int(ttl_s * 1000)
        self._timeout_s = timeout_s
        self._newer = client.register_script(NEWER)

    async def get(self, key: Key) -> Record | None:
        """See Level."""
        written = await self._ask(self._client.hget(f"{PREFIX}{key}", "record"))
        try:
            return Record.decode(written) if written else None
        except ValueError as exc:
            raise LevelFailed(f"redis: {key} is damaged: {exc}") from exc

    async def put(self, record: Record) -> None:
        """See Level."""
        await self._write(record.key, record.revision, record.encode())

    async def remove(self, key: Key, revision: int) -> None:
        """See Level."""
        await self._write(key, revision, b"")

    async def clear(self) -> None:
        """See Level."""
        await self._ask(self._delete_all(), CLEAR_S)

    async def announce(self, record: Record) -> None:
        """Tell all processes that a record changed."""
        await self._ask(self._client.publish(CHANNEL, f"{record.key} {record.revision}"))

    async def announced(self) -> AsyncIterator[tuple[Key, int]]:
        """Yield what changed, and its revision. Raises LevelFailed when the connection ends."""
        try:
            async with self._client.pubsub(ignore_subscribe_messages=True) as listener:
                await listener.subscribe(CHANNEL)
                async with aclosing(listener.listen()) as messages:
                    async for message in messages:
                        name, _, revision = message["data"].decode().partition(" ")
                        subject, _, version = name.partition("/")
                        yield Key(subject, version), int(revision)
        except (RedisError, OSError) as exc:
            raise LevelFailed(f"redis: {exc}") from exc

    async def _write(self, key: Key, revision: int, written: bytes) -> None:
        words: list[str | bytes] = [str(revision), written, str(self._ttl_ms)]
        await self._ask(self._newer(keys=[f"{PREFIX}{key}"], args=words))

    async def _delete_all(self) -> None:
        cursor = -1
        while cursor:
            cursor, names = await self._client.scan(max(cursor, 0), match=f"{PREFIX}*", count=AT_ONCE)
            if names:
                await self._client.unlink(*names)

    async def _ask(self, command: Awaitable[_Answer], timeout_s: float | None = None) -> _Answer:
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                return await command
        except (RedisError, OSError) as exc:
            raise LevelFailed(f"redis: {exc or type(exc).__name__}") from exc
