"""The connections to PostgreSQL: a pool, one time limit for all work, and errors mapped once."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from registry.errors import BadRequest, LevelFailed

Connection = AsyncConnection[DictRow]

CHECK_S = 1.0
"""How long it may take to find the connections that were cut."""

RECONNECT_S = 2.0

END_S = 1.0
"""How long work may take to see that its connection is cut."""

_Value = TypeVar("_Value")


class Postgres:
    """Does work in transactions, each within `timeout_s`; a connection is waited for as long."""

    def __init__(self, pool: "AsyncConnectionPool[Connection]", timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def run(
        self, work: Callable[[Connection], Coroutine[Any, Any, _Value]], *, timeout_s: float | None = None
    ) -> _Value:
        """Return what `work` returns, committed. Raises LevelFailed, and BadRequest for text it cannot store.

        After a lost connection the work is done again with another one, and after a time limit it is not
        known whether it was done: all of it can be repeated.
        """
        limit_s = timeout_s or self._timeout_s
        try:
            try:
                return await self._attempt(work, limit_s)
            except psycopg.OperationalError as exc:
                if isinstance(exc, PoolTimeout | TooManyRequests):
                    raise
                await self._replace_lost()
                return await self._attempt(work, limit_s)
        except psycopg.DataError as exc:
            raise BadRequest(f"this cannot be stored: {exc}") from exc
        except (psycopg.OperationalError, psycopg.InterfaceError, OSError) as exc:
            raise LevelFailed(f"postgres: {exc or type(exc).__name__}") from exc

    async def _attempt(
        self, work: Callable[[Connection], Coroutine[Any, Any, _Value]], limit_s: float
    ) -> _Value:
        async with self._pool.connection(timeout=self._timeout_s) as connection:
            return await within(connection, _transaction(connection, work), limit_s)

    async def _replace_lost(self) -> None:
        """Replace all connections that were cut: after a restart of the server these are all of them."""
        checking = asyncio.ensure_future(self._pool.check())
        checking.add_done_callback(_ignore)
        await asyncio.wait({checking}, timeout=CHECK_S)


async def _transaction(
    connection: Connection, work: Callable[[Connection], Coroutine[Any, Any, _Value]]
) -> _Value:
    async with connection.transaction():
        return await work(connection)


async def within(connection: Connection, work: Coroutine[Any, Any, _Value], timeout_s: float) -> _Value:
    """Wait for work that uses a connection, and cut the connection when it takes too long.

    To cancel the work instead would mean to ask the server, which may be what does not answer. The socket is
    shut down, not closed: the work itself sees its end, and no one else gets a descriptor that it waits for.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(_ignore)
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
        if done:
            return task.result()
        raise TimeoutError(f"no answer within {timeout_s:g} s")
    finally:
        if not task.done():
            with socket.socket(fileno=os.dup(connection.fileno())) as found:
                found.shutdown(socket.SHUT_RDWR)
            await asyncio.wait({task}, timeout=END_S)


def _ignore(task: asyncio.Task[Any]) -> None:
    """Take what a task ended with that no one waits for any more."""
    if not task.cancelled():
        task.exception()


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
        # It gives up soon and starts over: its pauses grow, and a database that is back is used at once.
        reconnect_timeout=RECONNECT_S,
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
