"""The circuit breaker."""

import asyncio

import pytest

from registry.errors import CircuitOpen, LevelFailed, NotFound
from registry.storage.breaker import Breaker

pytestmark = pytest.mark.anyio


class Level:
    """A level that works or not, with a clock; counts its calls."""

    def __init__(self) -> None:
        self.now, self.calls, self.error = 0.0, 0, None

    def clock(self) -> float:
        return self.now

    async def ask(self) -> str:
        self.calls += 1
        if self.error:
            raise self.error
        return "answer"


async def fail(breaker: Breaker, level: Level, times: int) -> None:
    level.error = LevelFailed("it is broken")
    for _ in range(times):
        with pytest.raises(LevelFailed):
            await breaker.call(level.ask)


@pytest.fixture
def level() -> Level:
    return Level()


@pytest.fixture
def breaker(level: Level) -> Breaker:
    return Breaker("redis", failures=3, pause_s=10, clock=level.clock)


async def test_it_opens_after_failures_in_a_row(level: Level, breaker: Breaker) -> None:
    """Then the level is not asked any more."""
    await fail(breaker, level, 3)
    assert breaker.state == "open"
    with pytest.raises(CircuitOpen, match="redis failed 3 times in a row"):
        await breaker.call(level.ask)
    assert level.calls == 3


async def test_a_success_starts_the_count_anew(level: Level, breaker: Breaker) -> None:
    """Failures now and then do not open it."""
    for _ in range(3):
        await fail(breaker, level, 2)
        level.error = None
        assert await breaker.call(level.ask) == "answer"
    assert breaker.state == "closed"


async def test_after_the_pause_one_call_decides(level: Level, breaker: Breaker) -> None:
    """If it works the breaker closes, if it fails the pause begins again."""
    await fail(breaker, level, 3)
    level.now = 10
    assert breaker.state == "half-open"
    await fail(breaker, level, 1)
    assert breaker.state == "open"
    level.now, level.error = 20, None
    assert await breaker.call(level.ask) == "answer"
    assert breaker.state == "closed"


async def test_only_one_call_tries_at_a_time(level: Level, breaker: Breaker) -> None:
    """A level that recovers is not met by everyone who waited."""
    await fail(breaker, level, 3)
    level.now = 10
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "slow answer"

    trial = asyncio.ensure_future(breaker.call(slow))
    await asyncio.sleep(0)
    with pytest.raises(CircuitOpen):
        await breaker.call(level.ask)
    gate.set()
    assert await trial == "slow answer"
    assert breaker.state == "closed"


async def test_a_refusal_is_an_answer(level: Level, breaker: Breaker) -> None:
    """What is not there says nothing against the level."""
    await fail(breaker, level, 2)
    level.error = NotFound("no such schema")
    with pytest.raises(NotFound):
        await breaker.call(level.ask)
    await fail(breaker, level, 2)
    assert breaker.state == "closed"
