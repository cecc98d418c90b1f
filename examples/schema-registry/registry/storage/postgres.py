"""The connections to PostgreSQL: a pool, one time limit for all work, and errors mapped once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from registry.errors import BadRequest, LevelFailed

Connection = AsyncConnection[DictRow]

CHECK_S = 1.0
"""How long a connection that lay idle may take to show that it is alive."""

PATIENCE_S = 2.0
"""How long a caller waits for a connection, and the pool tries to make one before it starts over."""

_Value = TypeVar("_Value")


class Postgres:
    """Does work in transactions, each within `timeout_s`."""

    def __init__(self, pool: "AsyncConnectionPool[Connection]", timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def run(
        self, work: Callable[[Connection], Coroutine[Any, Any, _Value]], *, timeout_s: float | None = None
    ) -> _Value:
        """Return what `work` returns, committed. Raises LevelFailed, and BadRequest for text it cannot store.

        After a time limit it is not known whether the work was done: all of it can be repeated.
        """
        try:
            async with self._pool.connection(timeout=PATIENCE_S) as connection:
                return await within(connection, _transaction(connection, work), timeout_s or self._timeout_s)
        except psycopg.DataError as exc:
            raise BadRequest(f"this cannot be stored: {exc}") from exc
        except (psycopg.OperationalError, psycopg.InterfaceError, OSError) as exc:
            raise LevelFailed(f"postgres: {exc or type(exc).__name__}") from exc


async def _transaction(
    connection: Connection, work: Callable[[Connection], Coroutine[Any, Any, _Value]]
) -> _Value:
    async with connection.transaction():
        return await work(connection)


async def within(connection: Connection, work: Coroutine[Any, Any, _Value], timeout_s: float) -> _Value:
    """Wait for work that uses a connection, and close the connection when it takes too long.

    To cancel it instead would mean to ask the server, which may be what does not answer.
    """
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=timeout_s)
    if done:
        return task.result()
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    await connection.close()
    raise TimeoutError(f"no answer within {timeout_s:g} s")


async def _check(connection: Connection) -> None:
    try:
        await within(connection, _nothing(connection), CHECK_S)
    except TimeoutError as exc:
        raise psycopg.OperationalError(str(exc)) from exc


async def _nothing(connection: Connection) -> None:
    await connection.execute("")


@asynccontextmanager
async def connected(
    url: str, *, timeout_s: float, size: int = 10, start_s: float = 30.0
) -> AsyncIterator[Postgres]:
    """Give connections to a database. Raises LevelFailed if there is none within `start_s`."""
    pool = AsyncConnectionPool(
        url,
        connection_class=AsyncConnection[DictRow],
        kwargs={"row_factory": dict_row, "autocommit": True, "connect_timeout": 2},
        min_size=2,
        max_size=size,
        check=_check,
        reconnect_timeout=PATIENCE_S,
        open=False,
    )
    try:
        await _opened(pool.open(wait=True, timeout=start_s))
        yield Postgres(pool, timeout_s)
    finally:
        await pool.close(timeout=1.0)


async def _opened(opening: Awaitable[None]) -> None:
    try:
        await opening
    except psycopg.OperationalError as exc:
        raise LevelFailed(f"postgres: {exc}") from exc
