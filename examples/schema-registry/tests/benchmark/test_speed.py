"""How long the parts take: each level, a whole read, a registration, a comparison and a validation."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from registry.assembly import Registry, assembled
from registry.compatibility import problems
from registry.core import Draft, Key
from registry.json_text import canonical, digest
from registry.observability import Tally
from registry.settings import read_settings
from registry.storage import tables
from registry.validation import problems_of

SCHEMA = {
    "type": "object",
    "properties": {f"field{n}": {"type": "string", "maxLength": 40} for n in range(20)},
    "required": ["field0", "field1"],
}
WIDER = {**SCHEMA, "required": ["field0"]}
DOCUMENT = {f"field{n}": "some text" for n in range(20)}
ROUNDS = 50
KEY = Key("speed", "1.0.0")

Measure = Callable[[Callable[[], Coroutine[Any, Any, object]]], None]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give the loop that everything of this module runs in."""
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture(scope="module")
def registry(loop: asyncio.AbstractEventLoop) -> Iterator[Registry]:
    """Give a registry on the stage's servers, with one schema."""
    stack = AsyncExitStack()
    found = loop.run_until_complete(stack.enter_async_context(assembled(read_settings(os.environ), Tally())))
    loop.run_until_complete(found.service.register(Draft(subject="speed", schema=SCHEMA, version="1.0.0")))
    yield found
    loop.run_until_complete(stack.aclose())


@pytest.fixture
def measure(benchmark: Any, loop: asyncio.AbstractEventLoop) -> Measure:
    """Return what measures a coroutine."""

    def run(make: Callable[[], Coroutine[Any, Any, object]]) -> None:
        benchmark.pedantic(lambda: loop.run_until_complete(make()), rounds=ROUNDS, warmup_rounds=3)

    return run


@pytest.mark.parametrize("emptied", [[], ["memory"], ["memory", "redis"], ["memory", "redis", "s3"]], ids=len)
def test_a_read_through_the_levels(registry: Registry, measure: Measure, emptied: list[str]) -> None:
    """With so many levels emptied before it."""

    async def read() -> None:
        await registry.tiers.clear(emptied)
        await registry.tiers.read(KEY)

    measure(read)


def test_a_registration(registry: Registry, measure: Measure) -> None:
    """Of a new subject each time, through all levels."""
    numbers = iter(range(10_000))
    draft = Draft(subject="", schema=SCHEMA)
    measure(lambda: registry.service.register(replace(draft, subject=f"speed-{next(numbers)}")))


def test_the_database(registry: Registry, measure: Measure) -> None:
    """A look-up by its key, with its transaction."""
    measure(lambda: registry.tiers.run(lambda c: tables.find(c, KEY)))


def test_redis(registry: Registry, measure: Measure) -> None:
    """A record that is there."""
    measure(lambda: registry.redis.get(KEY))


def test_s3(registry: Registry, measure: Measure) -> None:
    """A record that is there."""
    measure(lambda: registry.tiers.objects.get(KEY))


def test_a_comparison(benchmark: Any) -> None:
    """Of two schemas with twenty fields."""
    assert benchmark(problems, SCHEMA, WIDER) == []


def test_a_validation(benchmark: Any) -> None:
    """Of a document with twenty fields."""
    assert benchmark(problems_of, DOCUMENT, canonical(SCHEMA)) == []


def test_a_digest(benchmark: Any) -> None:
    """Of a schema with twenty fields."""
    assert len(benchmark(digest, SCHEMA)) == 64
