"""Stampede protection."""

import asyncio

import pytest

from registry.storage.flight import Flights

pytestmark = pytest.mark.anyio


class Source:
    """Something slow that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked, self.gate = 0, asyncio.Event()

    async def fetch(self) -> int:
        self.asked += 1
        number = self.asked
        await self.gate.wait()
        return number


async def started(flights: Flights[int], source: Source, count: int = 1) -> list[asyncio.Future[int]]:
    callers = [asyncio.ensure_future(flights.fetch("key", source.fetch)) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return callers


async def test_a_hundred_callers_fetch_once() -> None:
    """All get what the one got."""
    flights, source = Flights[int](), Source()
    callers = await started(flights, source, 100)
    source.gate.set()
    assert await asyncio.gather(*callers) == [1] * 100
    assert source.asked == 1


async def test_the_next_one_fetches_anew() -> None:
    """Nothing is kept: that is for the levels to do."""
    flights, source = Flights[int](), Source()
    source.gate.set()
    assert [await flights.fetch("key", source.fetch) for _ in range(2)] == [1, 2]


async def test_a_caller_that_gives_up_does_not_end_it_for_others() -> None:
    """Also if it was the first."""
    flights, source = Flights[int](), Source()
    first, second = await started(flights, source, 2)
    first.cancel()
    await asyncio.sleep(0)
    source.gate.set()
    assert await second == 1


async def test_an_error_is_told_to_all() -> None:
    """And the next one tries again."""
    flights = Flights[int]()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise LookupError("gone")

    found = await asyncio.gather(*(flights.fetch("key", fail) for _ in range(3)), return_exceptions=True)
    assert [str(each) for each in found] == ["gone"] * 3
    source = Source()
    source.gate.set()
    assert await flights.fetch("key", source.fetch) == 1


async def test_who_comes_after_a_change_does_not_get_what_was_before() -> None:
    """What is under way when a record changes is for those who asked before."""
    flights, source = Flights[int](), Source()
    (before,) = await started(flights, source)
    flights.forget("key")
    (after,) = await started(flights, source)
    source.gate.set()
    assert (await before, await after) == (1, 2)
