"""The parts, put together, and what they do besides answering: settle, listen to others, warm up."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import boto3
from botocore.config import Config

from registry.backup import Backups
from registry.errors import LevelFailed, Unavailable
from registry.observability import Tally
from registry.service import Service
from registry.settings import Settings
from registry.storage import tables
from registry.storage.breaker import Breaker
from registry.storage.memory import Memory
from registry.storage.objects import ObjectLevel
from registry.storage.postgres import connected
from registry.storage.redis import RedisLevel, redis_at
from registry.storage.tiers import Tiers

log = logging.getLogger(__name__)

SETTLE_EACH_S = 1.0
LISTEN_AGAIN_S = 1.0
CONNECTIONS = 32
"""The most to Redis and to S3."""


class Registry:
    """One process's parts."""

    def __init__(self, tiers: Tiers, redis: RedisLevel, tally: Tally) -> None:
        self.tiers = tiers
        self.redis = redis
        self.tally = tally
        self.service = Service(tiers)
        self.backups = Backups(tiers)

    async def warm(self, count: int) -> None:
        """Have in memory what was changed last."""
        await self.tiers.warm(await self.tiers.run(lambda connection: tables.newest(connection, count)))

    async def settle(self) -> None:
        """Bring to all levels what was left for later, for ever."""
        await _for_ever(self.tiers.settle_rest, SETTLE_EACH_S)

    async def listen(self) -> None:
        """Drop from memory what other processes change, for ever."""

        async def hear() -> None:
            async for key, revision in self.redis.announced():
                await self.tiers.changed_elsewhere(key, revision)

        await _for_ever(hear, LISTEN_AGAIN_S)


@asynccontextmanager
async def assembled(settings: Settings, tally: Tally) -> AsyncIterator[Registry]:
    """Give the parts, connected. Raises LevelFailed if the database cannot be reached."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            connected(settings.database_url, timeout_s=settings.database_timeout_s)
        )
        await database.run(tables.make_tables, timeout_s=30.0)
        client = await stack.enter_async_context(redis_at(settings.redis_url, connections=CONNECTIONS))
        redis = RedisLevel(client, ttl_s=settings.redis_ttl_s, timeout_s=settings.redis_timeout_s)
        tiers = Tiers(
            memory=Memory(ttl_s=settings.memory_ttl_s),
            redis=redis,
            objects=ObjectLevel(_s3(settings), settings.s3_bucket),
            database=database,
            breakers={name: _breaker(name, settings) for name in ("redis", "s3", "postgres")},
            tally=tally,
        )
        yield Registry(tiers, redis, tally)


@asynccontextmanager
async def working(registry: Registry, settings: Settings) -> AsyncIterator[None]:
    """Warm up, and do the work of the background until left."""
    await registry.warm(settings.warm)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(registry.settle()), group.create_task(registry.listen())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def _breaker(name: str, settings: Settings) -> Breaker:
    return Breaker(name, failures=settings.breaker_failures, pause_s=settings.breaker_pause_s)


def _s3(settings: Settings):  # type: ignore[no-untyped-def]  # its type is in boto3-stubs only
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_url,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
        region_name="us-east-1",
        config=Config(
            connect_timeout=settings.s3_timeout_s,
            read_timeout=settings.s3_timeout_s,
            retries={"total_max_attempts": 1},
            max_pool_connections=CONNECTIONS,
            s3={"addressing_style": "path"},
            proxies={},
        ),
    )


async def _for_ever(action: Callable[[], Awaitable[object]], pause_s: float) -> None:
    while True:
        try:
            await action()
        except (LevelFailed, Unavailable) as exc:
            log.debug("%s", exc)
        await asyncio.sleep(pause_s)
