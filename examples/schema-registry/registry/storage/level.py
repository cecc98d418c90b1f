"""What every level above the database can do.

A level may forget anything at any time, and never returns what is older than what it was told last: entries
carry the revision of their record, and an older one does not replace a newer one. What is removed leaves a
mark with its revision, so that a slow reader cannot bring it back.
"""

from typing import Protocol

from registry.core import Key, Record


class Level(Protocol):
    """A cache of records. Each method raises LevelFailed when the level cannot be used."""

    name: str

    async def get(self, key: Key) -> Record | None:
        """Return a record, None if it is not here."""

    async def put(self, record: Record) -> None:
        """Keep a record, unless a newer one is here."""

    async def remove(self, key: Key, revision: int) -> None:
        """Forget a record as of this revision."""

    async def clear(self) -> None:
        """Forget everything."""
