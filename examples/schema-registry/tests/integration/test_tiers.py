"""The four levels together: who answers, what is kept where, and what happens when one fails."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from registry.assembly import Registry, assembled, working
from registry.core import Draft, Key, Record
from registry.errors import Gone, NotFound, Unavailable
from registry.observability import Tally
from registry.settings import Settings
from registry.storage import tables
from registry.storage.objects import RECORDS
from registry.storage.redis import CHANNEL, PREFIX

pytestmark = pytest.mark.anyio

DRAFT = Draft(subject="orders", schema={"type": "object", "properties": {"id": {"type": "integer"}}})


async def registered(registry: Registry, draft: Draft = DRAFT) -> Record:
    record, _ = await registry.service.register(draft)
    return record


def answered(registry: Registry, level: str) -> tuple[float, float]:
    counts = registry.tally.levels()[level]
    return counts["hit"], counts["miss"]


async def in_redis(redis: Redis, key: Key) -> Record | None:
    written = await redis.hget(f"{PREFIX}{key}", "record")
    return Record.decode(written) if written else None


def in_s3(s3: Any, bucket: str, key: Key) -> Record | None:
    names = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    if f"{RECORDS}{key}" not in names:
        return None
    return Record.decode(s3.get_object(Bucket=bucket, Key=f"{RECORDS}{key}")["Body"].read())


async def unsettled(registry: Registry) -> list[Key]:
    return await registry.tiers.run(lambda connection: tables.unsettled(connection, 10))


async def is_gone(registry: Registry, key: Key) -> bool:
    try:
        await registry.tiers.read(key)
    except Gone:
        return True
    return False


@asynccontextmanager
async def another(settings: Settings, **changes: Any) -> AsyncIterator[Registry]:
    """Give another process's registry on the same servers."""
    async with assembled(replace(settings, **changes), Tally()) as found:
        yield found


async def test_memory_answers_without_asking_anyone(registry: Registry) -> None:
    """Right after a record was written."""
    record = await registered(registry)
    assert await registry.tiers.read(record.key) == record
    assert answered(registry, "memory") == (1, 0)
    assert answered(registry, "redis") == answered(registry, "s3") == answered(registry, "postgres") == (0, 0)


async def test_redis_answers_what_memory_has_not(registry: Registry) -> None:
    """And memory has it from then on."""
    record = await registered(registry)
    await registry.tiers.clear(["memory"])
    assert [await registry.tiers.read(record.key) for _ in range(2)] == [record, record]
    assert answered(registry, "memory") == (1, 1)
    assert answered(registry, "redis") == (1, 0)


async def test_s3_answers_what_redis_has_not(registry: Registry, redis: Redis) -> None:
    """And both levels above have it from then on."""
    record = await registered(registry)
    await registry.tiers.clear(["memory", "redis"])
    assert await registry.tiers.read(record.key) == record
    assert (answered(registry, "redis"), answered(registry, "s3")) == ((0, 1), (1, 0))
    assert answered(registry, "postgres") == (0, 0)
    assert await in_redis(redis, record.key) == record
    assert await registry.tiers.read(record.key) == record
    assert answered(registry, "memory") == (1, 1)


async def test_the_database_answers_what_no_level_has(
    registry: Registry, redis: Redis, s3: Any, bucket: str
) -> None:
    """All levels have it from then on, S3 as soon as it is settled."""
    record = await registered(registry)
    await registry.tiers.clear(["memory", "redis", "s3"])
    assert await registry.tiers.read(record.key) == record
    assert answered(registry, "postgres") == (1, 0)
    assert await in_redis(redis, record.key) == record
    assert await registry.tiers.settle_rest() == 1
    assert in_s3(s3, bucket, record.key) == record


async def test_a_write_goes_through_all_levels(
    registry: Registry, redis: Redis, s3: Any, bucket: str
) -> None:
    """Each has the record when the client gets its answer, and nothing is left to do."""
    record = await registered(registry)
    assert await in_redis(redis, record.key) == record
    assert in_s3(s3, bucket, record.key) == record
    assert await registry.tiers.run(lambda c: tables.find(c, record.key)) == record
    assert await unsettled(registry) == []


async def test_a_change_goes_through_all_levels(
    registry: Registry, redis: Redis, s3: Any, bucket: str
) -> None:
    """A deprecated version is deprecated everywhere."""
    record = await registered(registry)
    changed = await registry.service.move(*record.key, "deprecated")
    assert changed.state == "deprecated"
    assert await in_redis(redis, record.key) == in_s3(s3, bucket, record.key) == changed
    assert await registry.tiers.read(record.key) == changed


async def test_a_deletion_goes_through_all_levels(
    registry: Registry, redis: Redis, s3: Any, bucket: str
) -> None:
    """No level answers any more, whichever is asked first."""
    record = await registered(registry)
    await registry.service.move(*record.key, "deleted")
    assert await in_redis(redis, record.key) is None
    assert in_s3(s3, bucket, record.key) is None
    for emptied in ([], ["memory"], ["memory", "redis"]):
        await registry.tiers.clear(emptied)
        with pytest.raises(Gone):
            await registry.tiers.read(record.key)


async def test_other_processes_hear_of_a_change(registry: Registry, settings: Settings, redis: Redis) -> None:
    """They drop what they remember, long before its time is over, and nothing else."""
    record, kept = await registered(registry), await registered(registry, replace(DRAFT, subject="users"))
    async with another(settings, memory_ttl_s=3600.0) as other, working(other, settings):
        assert await other.tiers.read(record.key) == record
        async with asyncio.timeout(40):
            while not (await redis.pubsub_numsub(CHANNEL))[0][1]:
                await asyncio.sleep(0.02)
            await registry.redis.announce(kept)
            await registry.service.move(*record.key, "deleted")
            while not await is_gone(other, record.key):
                await asyncio.sleep(0.02)
        before = answered(other, "memory")[0]
        assert await other.tiers.read(kept.key) == kept
        assert answered(other, "memory")[0] == before + 1


async def test_hit_rates_are_tracked(registry: Registry) -> None:
    """Nine of ten reads are answered by memory."""
    record = await registered(registry)
    await registry.tiers.clear(["memory"])
    for _ in range(10):
        await registry.tiers.read(record.key)
    levels = registry.tally.levels()
    assert levels["memory"]["hit_rate"] == 0.9
    assert levels["redis"]["hit_rate"] == 1.0


async def test_a_stampede_asks_the_levels_once(registry: Registry) -> None:
    """A hundred readers of what no level has are one query."""
    record = await registered(registry)
    await registry.tiers.clear(["memory", "redis", "s3"])
    found = await asyncio.gather(*(registry.tiers.read(record.key) for _ in range(100)))
    assert found == [record] * 100
    assert answered(registry, "memory") == (0, 100)
    assert answered(registry, "postgres") == (1, 0)
    assert answered(registry, "redis") == answered(registry, "s3") == (0, 1)


async def test_memory_forgets_after_its_time(registry: Registry, settings: Settings) -> None:
    """Then the next level is asked again."""
    record = await registered(registry)
    async with another(settings, memory_ttl_s=0.05) as other, asyncio.timeout(40):
        await other.tiers.read(record.key)
        while answered(other, "redis")[0] < 2:
            await asyncio.sleep(0.02)
            await other.tiers.read(record.key)


async def test_redis_forgets_after_its_time(registry: Registry, settings: Settings, redis: Redis) -> None:
    """Then S3 is asked again."""
    record = await registered(registry)
    await redis.flushdb()
    async with another(settings, redis_ttl_s=0.05) as other, asyncio.timeout(40):
        while answered(other, "s3")[0] < 2:
            await other.tiers.clear(["memory"])
            await other.tiers.read(record.key)
            await asyncio.sleep(0.02)


async def test_all_levels_agree_after_many_changes(
    registry: Registry, redis: Redis, s3: Any, bucket: str
) -> None:
    """Whatever the order in which they were made."""
    drafts = [replace(DRAFT, subject=f"s{n}") for n in range(10)]
    records = await asyncio.gather(*(registered(registry, draft) for draft in drafts))
    moves = [registry.service.move(*r.key, "deprecated") for r in records[::2]]
    moves += [registry.service.move(*r.key, "deleted") for r in records[1::2]]
    reads = [registry.tiers.read(record.key) for record in records]
    await asyncio.gather(*moves, *reads, return_exceptions=True)
    await registry.tiers.settle_rest()
    for record in records:
        truth = await registry.tiers.run(lambda c, key=record.key: tables.find(c, key))
        expected = truth if truth and truth.state != "deleted" else None
        assert await in_redis(redis, record.key) == expected
        assert in_s3(s3, bucket, record.key) == expected


async def test_without_redis_the_other_levels_answer(
    settings: Settings, registry: Registry, free_port: int
) -> None:
    """Its failure is counted, and what was written is settled later."""
    record = await registered(registry)
    async with another(settings, redis_url=f"redis://127.0.0.1:{free_port}/0") as other:
        assert await other.tiers.read(record.key) == record
        assert answered(other, "s3") == (1, 0)
        assert other.tally.levels()["redis"]["failure"] > 0
        later = await registered(other, replace(DRAFT, subject="users"))
        assert await unsettled(registry) == [later.key]
    assert await registry.tiers.settle_rest() == 1


async def test_without_s3_the_other_levels_answer(
    settings: Settings, registry: Registry, redis: Redis, free_port: int
) -> None:
    """Also what was written meanwhile, by another process."""
    async with another(settings, s3_url=f"http://127.0.0.1:{free_port}") as other:
        record = await registered(other)
        assert await in_redis(redis, record.key) == record
        await redis.flushdb()
        await other.tiers.clear(["memory"])
        assert await other.tiers.read(record.key) == record
        assert answered(other, "postgres") == (1, 0)


async def test_a_deletion_that_could_not_be_settled_is_settled_later(
    settings: Settings, registry: Registry, redis: Redis, free_port: int
) -> None:
    """So that no level keeps for good what was deleted while it was away."""
    record = await registered(registry)
    async with another(settings, redis_url=f"redis://127.0.0.1:{free_port}/0") as other:
        await other.service.move(*record.key, "deleted")
    assert await in_redis(redis, record.key) == record
    async with working(registry, settings), asyncio.timeout(40):
        while await in_redis(redis, record.key):
            await asyncio.sleep(0.05)
    with pytest.raises(Gone):
        await registry.tiers.read(record.key)


async def test_a_level_that_fails_is_left_alone(
    settings: Settings, registry: Registry, free_port: int
) -> None:
    """The circuit breaker opens, and reads no longer try it."""
    await registered(registry)
    url = f"redis://127.0.0.1:{free_port}/0"
    async with another(settings, redis_url=url, breaker_failures=3, breaker_pause_s=60) as other:
        assert other.tiers.breaker_states()["redis"] == "closed"
        for _ in range(3):
            with pytest.raises(NotFound):
                await other.tiers.read(Key("orders", "9.9.9"))
        assert other.tiers.breaker_states() == {"redis": "open", "s3": "closed", "postgres": "closed"}


async def test_without_the_database_caches_answer_and_the_rest_is_unavailable(
    settings: Settings, registry: Registry
) -> None:
    """Its breaker opens: who asks gets an answer at once."""
    record = await registered(registry)

    async def too_slow(connection: Any) -> None:
        await connection.execute("SELECT pg_sleep(5)")

    async with another(settings, breaker_failures=2, breaker_pause_s=60) as other:
        for _ in range(2):
            with pytest.raises(Unavailable, match="no answer within"):
                await other.tiers.run(too_slow, timeout_s=0.05)
        assert other.tiers.breaker_states()["postgres"] == "open"
        assert await other.tiers.read(record.key) == record
        with pytest.raises(Unavailable, match="left alone"):
            await other.tiers.read(Key("orders", "9.9.9"))


async def test_what_changed_last_is_warm_at_the_start(registry: Registry, settings: Settings) -> None:
    """A new process answers it from memory."""
    records = [await registered(registry, replace(DRAFT, subject=f"s{n}")) for n in range(3)]
    settings = replace(settings, warm=2)
    async with another(settings) as other, working(other, settings):
        for record in records:
            await other.tiers.read(record.key)
        assert answered(other, "memory") == (2, 1)


async def test_a_damaged_copy_does_not_harm(
    registry: Registry, redis: Redis, s3: Any, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The next level is asked instead."""
    caplog.set_level(logging.DEBUG)
    record = await registered(registry)
    await registry.tiers.clear(["memory"])
    await redis.hset(f"{PREFIX}{record.key}", "record", "{")
    s3.put_object(Bucket=bucket, Key=f"{RECORDS}{record.key}", Body=b"not JSON")
    assert await registry.tiers.read(record.key) == record
    assert "is damaged" in caplog.text
