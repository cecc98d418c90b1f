"""The first level: the memory of this process, a few thousand records for some seconds."""

import time
from collections.abc import Callable

from cachetools import TTLCache

from registry.core import Key, Record


class Memory:
    """Keeps at most `size` records, each for `ttl_s`; the least recently used goes first."""

    name = "memory"

    def __init__(
        self, *, size: int = 10_000, ttl_s: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._entries: TTLCache[Key, tuple[int, Record | None]] = TTLCache(size, ttl_s, timer=clock)

    def __len__(self) -> int:
        """Return how many entries there are, marks of removal among them."""
        return len(self._entries)

    async def get(self, key: Key) -> Record | None:
        """See Level."""
        return self._entries.get(key, (0, None))[1]

    async def put(self, record: Record) -> None:
        """See Level."""
        self._set(record.key, record.revision, record)

    async def remove(self, key: Key, revision: int) -> None:
        """See Level."""
        self._set(key, revision, None)

    async def clear(self) -> None:
        """See Level."""
        self._entries.clear()

    async def drop_older(self, key: Key, revision: int) -> None:
        """Forget a record that is older than this revision; a copy of it is kept."""
        known, _ = self._entries.get(key, (0, None))
        if known < revision:
            await self.remove(key, revision)

    def _set(self, key: Key, revision: int, record: Record | None) -> None:
        known, _ = self._entries.get(key, (0, None))
        if revision >= known:
            self._entries[key] = revision, record
