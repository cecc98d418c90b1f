"""What the tests with real sockets share: waiting for a condition, and tasks that end with the test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

import pytest

WITHIN_S = 5.0
"""Far above what any condition needs, so that only a real failure takes this long."""

Background = Callable[[Coroutine[object, object, None]], "asyncio.Task[None]"]


Eventually = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture
def eventually() -> Eventually:
    """Wait for a condition without guessing how long it takes."""

    async def wait(condition: Callable[[], object]) -> None:
        answer: object = None
        try:
            async with asyncio.timeout(WITHIN_S):
                while not (answer := condition()):  # noqa: ASYNC110 - nothing signals it
                    await asyncio.sleep(0.002)
        except TimeoutError:
            pytest.fail(f"did not come true within {WITHIN_S} s; last answer: {answer!r}")

    return wait


@pytest.fixture
async def background() -> AsyncIterator[Background]:
    """Start a task that is cancelled after the test; one that failed by itself fails the test."""
    tasks: list[asyncio.Task[None]] = []

    def start(work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(WITHIN_S):
        endings = await asyncio.gather(*tasks, return_exceptions=True)
    assert [ending for ending in endings if isinstance(ending, Exception)] == []
