"""The first level."""

from dataclasses import replace

import pytest

from registry.core import Record
from registry.storage.memory import Memory

pytestmark = pytest.mark.anyio

RECORD = Record(id="i", subject="s", version="1.0.0", schema={}, digest="d")


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_what_is_put_is_found_until_its_time_is_over() -> None:
    """Then it is as if it had never been there."""
    clock = Clock()
    memory = Memory(ttl_s=10, clock=clock)
    await memory.put(RECORD)
    clock.now = 9.9
    assert await memory.get(RECORD.key) == RECORD
    clock.now = 10.1
    assert await memory.get(RECORD.key) is None


async def test_the_least_recently_used_goes_first() -> None:
    """The memory of a process is limited."""
    memory = Memory(size=2)
    first, second, third = (replace(RECORD, version=f"{n}.0.0") for n in range(3))
    await memory.put(first)
    await memory.put(second)
    await memory.get(first.key)
    await memory.put(third)
    assert [await memory.get(each.key) for each in (first, second, third)] == [first, None, third]
    assert len(memory) == 2


async def test_older_copies_do_not_replace_newer_ones() -> None:
    """A slow reader cannot bring back what was changed meanwhile, nor what was removed."""
    memory = Memory()
    newer = replace(RECORD, revision=3)
    await memory.put(newer)
    await memory.put(RECORD)
    assert await memory.get(RECORD.key) == newer
    await memory.remove(RECORD.key, 4)
    await memory.put(newer)
    assert await memory.get(RECORD.key) is None
    await memory.drop_older(RECORD.key, 3)
    assert await memory.get(RECORD.key) is None
    await memory.clear()
    await memory.put(RECORD)
    assert await memory.get(RECORD.key) == RECORD


async def test_an_announcement_drops_what_is_older_and_nothing_else() -> None:
    """A process hears its own announcements, too, and keeps what it has just written."""
    memory = Memory()
    await memory.put(replace(RECORD, revision=2))
    await memory.drop_older(RECORD.key, 2)
    assert await memory.get(RECORD.key) == replace(RECORD, revision=2)
    await memory.drop_older(RECORD.key, 3)
    assert await memory.get(RECORD.key) is None
