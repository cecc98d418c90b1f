"""Redis: what the level keeps, and what else a cache of schemas may rely on, on the server of the stage."""

import asyncio
import json
from dataclasses import replace

import pytest
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import WatchError

from registry.core import Key, Record
from registry.errors import LevelFailed
from registry.storage.redis import CHANNEL, NEWER, PREFIX, RedisLevel, redis_at

pytestmark = pytest.mark.anyio

RECORD = Record(id="i", subject="orders", version="1.0.0", schema={"type": "object"}, digest="d")


@pytest.fixture
def level(redis: Redis) -> RedisLevel:
    return RedisLevel(redis, timeout_s=20)


async def test_what_is_set_is_got(redis: Redis) -> None:
    """And what is not there is nothing."""
    assert await redis.set("a", "1")
    assert await redis.get("a") == b"1"
    assert await redis.get("b") is None


async def test_a_record_is_kept_and_found(level: RedisLevel) -> None:
    """As it was."""
    assert await level.get(RECORD.key) is None
    await level.put(RECORD)
    assert await level.get(RECORD.key) == RECORD


async def test_entries_expire(redis: Redis) -> None:
    """By the server's clock, in milliseconds."""
    level = RedisLevel(redis, ttl_s=0.05, timeout_s=20)
    await level.put(RECORD)
    assert await redis.pttl(f"{PREFIX}{RECORD.key}") <= 50
    async with asyncio.timeout(30):
        while await level.get(RECORD.key):
            await asyncio.sleep(0.01)


async def test_hashes(level: RedisLevel, redis: Redis) -> None:
    """An entry is one: its revision can be read without its record."""
    await level.put(replace(RECORD, revision=7))
    assert await redis.hget(f"{PREFIX}{RECORD.key}", "revision") == b"7"
    fields = await redis.hgetall(f"{PREFIX}{RECORD.key}")
    assert set(fields) == {b"revision", b"record"}
    assert await redis.hset("stats", mapping={"hits": 1, "misses": 2}) == 2


async def test_lists(redis: Redis) -> None:
    """The last changes, the newest first, no more than three."""
    for number in range(5):
        await redis.lpush("changes", number)
        await redis.ltrim("changes", 0, 2)
    assert await redis.lrange("changes", 0, -1) == [b"4", b"3", b"2"]
    assert await redis.lpop("changes") == b"4"


async def test_sets(redis: Redis) -> None:
    """The versions of a subject, each once."""
    await redis.sadd("versions", "1.0.0", "1.1.0", "1.0.0")
    assert await redis.smembers("versions") == {b"1.0.0", b"1.1.0"}
    assert await redis.srem("versions", "1.0.0") == 1


async def test_sorted_sets(redis: Redis) -> None:
    """What is read most comes first."""
    await redis.zadd("read", {"a": 1, "b": 5, "c": 3})
    await redis.zincrby("read", 10, "a")
    assert await redis.zrange("read", 0, 1, desc=True) == [b"a", b"b"]


async def test_transactions(redis: Redis) -> None:
    """All commands or none: what was watched and changed ends it."""
    async with redis.pipeline(transaction=True) as pipe:
        assert await pipe.set("a", 1).incr("a").execute() == [True, 2]
    async with redis.pipeline(transaction=True) as pipe:
        await pipe.watch("a")
        await redis.set("a", 10)
        pipe.multi()
        pipe.set("a", 3)
        with pytest.raises(WatchError):
            await pipe.execute()
    assert await redis.get("a") == b"10"


async def test_changes_are_announced_to_all_processes(level: RedisLevel, redis: Redis) -> None:
    """With the revision, so that nobody keeps an older one."""
    heard = level.announced()
    first = asyncio.ensure_future(anext(heard))
    async with asyncio.timeout(30):
        while not (await redis.pubsub_numsub(CHANNEL))[0][1]:
            await asyncio.sleep(0.01)
        await level.announce(replace(RECORD, revision=4))
        assert await first == (Key("orders", "1.0.0"), 4)
    await heard.aclose()


async def test_a_record_is_json(level: RedisLevel, redis: Redis) -> None:
    """So that other programs can read it."""
    await level.put(replace(RECORD, metadata={"é": [1, None]}))
    written = await redis.hget(f"{PREFIX}{RECORD.key}", "record")
    assert written is not None
    assert json.loads(written)["metadata"] == {"é": [1, None]}


async def test_what_is_removed_is_not_brought_back(level: RedisLevel) -> None:
    """A slow reader that fills the level with an older copy comes too late."""
    await level.put(RECORD)
    await level.remove(RECORD.key, 2)
    assert await level.get(RECORD.key) is None
    await level.put(RECORD)
    assert await level.get(RECORD.key) is None
    await level.put(replace(RECORD, revision=3))
    assert await level.get(RECORD.key) == replace(RECORD, revision=3)


async def test_counting_is_atomic(redis: Redis) -> None:
    """A hundred clients count to a hundred."""
    await asyncio.gather(*(redis.incr("count") for _ in range(100)))
    assert await redis.decrby("count", 40) == 60


async def test_keys_are_found_by_pattern(level: RedisLevel, redis: Redis) -> None:
    """Those of one subject."""
    for subject, version in (("orders", "1.0.0"), ("orders", "1.1.0"), ("orders2", "1.0.0")):
        await level.put(replace(RECORD, subject=subject, version=version))
    found = await redis.keys(f"{PREFIX}orders/*")
    assert sorted(found) == [b"schema:orders/1.0.0", b"schema:orders/1.1.0"]


async def test_clearing_scans_everything_of_the_level_and_nothing_else(
    level: RedisLevel, redis: Redis
) -> None:
    """Also when there is more than one page of it."""
    async with redis.pipeline() as pipe:
        for number in range(1200):
            pipe.hset(f"{PREFIX}s/{number}", "revision", 1)
        await pipe.set("other", 1).execute()
    assert len([name async for name in redis.scan_iter(match=f"{PREFIX}*")]) == 1200
    await level.clear()
    assert await redis.keys() == [b"other"]


async def test_bitfields(redis: Redis) -> None:
    """Small counters side by side, which do not run over."""
    fields = redis.bitfield("counters", default_overflow="SAT")
    assert await fields.incrby("u8", "#0", 250).incrby("u8", "#0", 10).incrby("u8", "#1", 3).execute() == [
        250,
        255,
        3,
    ]


async def test_the_script_writes_only_what_is_newer(redis: Redis) -> None:
    """In one step on the server, so that no other client comes between."""
    script = redis.register_script(NEWER)
    said = [
        await script(keys=["k"], args=[revision, f"r{revision}", 10_000]) for revision in (2, 1, 2, 10, 9)
    ]
    assert said == [1, 0, 1, 1, 0]
    assert await redis.hget("k", "record") == b"r10"


async def test_connections_are_shared(settings_url: str) -> None:
    """Fifty clients of a pool of three wait for each other."""
    pool = BlockingConnectionPool.from_url(settings_url, max_connections=3, timeout=5)
    async with Redis(connection_pool=pool) as client:
        await asyncio.gather(*(client.incr("pooled") for _ in range(50)))
        assert await client.get("pooled") == b"50"
        clients = [
            each for each in await client.client_list() if each["cmd"] in ("incr", "get", "client|list")
        ]
        assert len(clients) <= 3
    await pool.disconnect()


async def test_many_older_and_newer_copies_end_with_the_newest(level: RedisLevel) -> None:
    """Whatever their order."""
    await asyncio.gather(*(level.put(replace(RECORD, revision=(n * 7) % 50 + 1)) for n in range(50)))
    found = await level.get(RECORD.key)
    assert found is not None
    assert found.revision == 50


async def test_a_server_that_is_not_there_is_a_failed_level(free_port: int) -> None:
    """For every method."""
    async with redis_at(f"redis://127.0.0.1:{free_port}/0") as client:
        level = RedisLevel(client)
        for action in (
            level.get(RECORD.key),
            level.put(RECORD),
            level.remove(RECORD.key, 1),
            level.clear(),
            level.announce(RECORD),
            anext(level.announced()),
        ):
            with pytest.raises(LevelFailed, match="redis"):
                await action
        with pytest.raises(RedisConnectionError):
            await client.ping()


async def test_a_damaged_entry_is_a_failed_level(level: RedisLevel, redis: Redis) -> None:
    """It is not taken for a record, and not for nothing."""
    await redis.hset(f"{PREFIX}{RECORD.key}", "record", "{")
    with pytest.raises(LevelFailed, match=r"orders/1\.0\.0 is damaged"):
        await level.get(RECORD.key)


async def test_an_answer_that_takes_too_long_is_a_failed_level(redis: Redis) -> None:
    """A server that is busy is not waited for."""
    level = RedisLevel(redis, timeout_s=0.05)
    await redis.client_pause(300)
    with pytest.raises(LevelFailed, match="redis"):
        await level.get(RECORD.key)
    await redis.client_unpause()
