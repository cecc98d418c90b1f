"""The four levels together.

Reading goes down: memory, Redis, S3, PostgreSQL; what is found is kept in the levels above. Of callers that
miss at the same time one goes down. A level that fails counts as a miss, and behind a circuit breaker it is
soon not asked at all; only without the database there is no answer to what no other level has.

Writing goes through: the transaction that changes a record notes it as unsettled, and settling writes it to
S3 and Redis while that note is locked. What could not be settled at once is settled later, in the
background, so that no level keeps what was deleted.
"""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from registry.core import Key, Record
from registry.errors import Gone, LevelFailed, NotFound, Unavailable
from registry.observability import Tally
from registry.storage import tables
from registry.storage.breaker import Breaker
from registry.storage.flight import Flights
from registry.storage.level import Level
from registry.storage.memory import Memory
from registry.storage.objects import ObjectLevel
from registry.storage.postgres import Connection, Postgres
from registry.storage.redis import RedisLevel

log = logging.getLogger(__name__)

SETTLE_S = 5.0
"""How long a transaction may last in which other levels are written to."""

SETTLED_AT_ONCE = 100

_Value = TypeVar("_Value")


class Tiers:
    """Reads and writes records through all levels; `breakers` are those of redis, s3 and postgres."""

    def __init__(
        self,
        *,
        memory: Memory,
        redis: RedisLevel,
        objects: ObjectLevel,
        database: Postgres,
        breakers: Mapping[str, Breaker],
        tally: Tally,
    ) -> None:
        self._memory = memory
        self._redis = redis
        self.objects = objects
        self._database = database
        self._breakers = breakers
        self._tally = tally
        self._flights: Flights[Record] = Flights()

    async def read(self, key: Key) -> Record:
        """Return a record. Raises NotFound, Gone, and Unavailable."""
        record = await self._memory.get(key)
        self._tally.asked("memory", "hit" if record else "miss")
        return record or await self._flights.fetch(key, lambda: self._read_below(key))

    async def run(
        self, work: Callable[[Connection], Coroutine[Any, Any, _Value]], *, timeout_s: float | None = None
    ) -> _Value:
        """Do work in a transaction of the database. Raises Unavailable."""
        try:
            return await self._breakers["postgres"].call(
                lambda: self._database.run(work, timeout_s=timeout_s)
            )
        except LevelFailed as exc:
            self._tally.asked("postgres", "failure")
            raise Unavailable(f"the database cannot be used now: {exc}") from exc

    async def written(self, record: Record) -> None:
        """Bring what was just committed as unsettled to all levels; what fails is left for later."""
        self._flights.forget(record.key)
        await _apply(self._memory, record)  # also where settling fails
        try:
            await self.settle(record.key)
        except (LevelFailed, Unavailable) as exc:
            self._tally.postponed()
            log.warning("%s is settled later: %s", record.key, exc)

    async def settle(self, key: Key) -> None:
        """Write a record as it is now to S3 and Redis. Raises LevelFailed and Unavailable."""

        async def work(connection: Connection) -> LevelFailed | None:
            if not await tables.lock_unsettled(connection, key):
                return None
            record = await tables.find(connection, key)
            if record:
                # Another process may have changed it and told no one: Redis was away, perhaps.
                self._flights.forget(key)
                await _apply(self._memory, record)
            failure = await self._write_through(record) if record else None
            if failure is None:
                await tables.mark_settled(connection, key)
            return failure

        if failure := await self.run(work, timeout_s=SETTLE_S):
            raise failure

    async def settle_rest(self) -> int:
        """Settle what was left for later, and return how many records were."""
        keys = await self.run(lambda connection: tables.unsettled(connection, SETTLED_AT_ONCE))
        for key in keys:
            await self.settle(key)
        return len(keys)

    async def changed_elsewhere(self, key: Key, revision: int) -> None:
        """Drop what this process remembers of a record that another one, or it itself, changed."""
        self._flights.forget(key)
        await self._memory.drop_older(key, revision)

    async def warm(self, records: Sequence[Record]) -> None:
        """Have these records in memory before they are asked for."""
        for record in records:
            await self._memory.put(record)

    async def clear(self, names: Sequence[str]) -> None:
        """Empty these levels; the database has everything still. Raises Unavailable."""
        for level in (self._memory, *self._shared()):
            if level.name in names:
                try:
                    await level.clear()
                except LevelFailed as exc:
                    raise Unavailable(str(exc)) from exc

    def breaker_states(self) -> dict[str, str]:
        """Return the state of each breaker."""
        return {name: breaker.state for name, breaker in self._breakers.items()}

    def _shared(self) -> tuple[Level, ...]:
        return (self._redis, self.objects)

    async def _write_through(self, record: Record) -> LevelFailed | None:
        """Write a record to all shared levels, also when one of them fails, which is returned."""
        failure = None
        actions = [(level, _applying(level, record)) for level in self._shared()]
        for level, action in [*actions, (self._redis, lambda: self._redis.announce(record))]:
            try:
                await self._guarded(level, action)
            except LevelFailed as exc:
                failure = exc
        return failure

    async def _read_below(self, key: Key) -> Record:
        missed: list[Level] = [self._memory]
        is_sure = True
        for level in self._shared():
            try:
                record = await self._guarded(level, partial(level.get, key))
            except LevelFailed as exc:
                is_sure = False
                log.debug("%s", exc)
                continue
            self._tally.asked(level.name, "hit" if record else "miss")
            if record:
                await self._fill(missed, record)
                return record
            missed.append(level)
        return await self._read_database(key, missed, is_sure=is_sure)

    async def _read_database(self, key: Key, missed: Sequence[Level], *, is_sure: bool) -> Record:
        record = await self.run(lambda connection: tables.find(connection, key))
        self._tally.asked("postgres", "hit" if record else "miss")
        if record is None:
            raise NotFound(f"{key.subject} has no version {key.version}")
        if record.state == "deleted":
            raise Gone(f"version {key.version} of {key.subject} was deleted")
        await self._fill([level for level in missed if level is not self.objects], record)
        if is_sure:
            await self.run(lambda connection: tables.mark_unsettled(connection, key))
        return record

    async def _fill(self, levels: Sequence[Level], record: Record) -> None:
        """Keep a record in these levels; one that fails will be asked in vain, no more."""
        for level in levels:
            try:
                await self._guarded(level, partial(level.put, record))
            except LevelFailed as exc:
                log.debug("%s", exc)

    async def _guarded(self, level: Level, action: Callable[[], Awaitable[_Value]]) -> _Value:
        """Ask a level through its breaker, and count what came of it."""
        breaker = self._breakers.get(level.name)
        try:
            answer = await (breaker.call(action) if breaker else action())
        except LevelFailed:
            self._tally.asked(level.name, "failure")
            raise
        return answer


async def _apply(level: Level, record: Record) -> None:
    if record.state == "deleted":
        await level.remove(record.key, record.revision)
    else:
        await level.put(record)


def _applying(level: Level, record: Record) -> Callable[[], Awaitable[None]]:
    return lambda: _apply(level, record)
