"""Blocks whose parent is not known yet: parked until it arrives, and bounded."""

from dataclasses import dataclass, replace


@dataclass(slots=True, kw_only=True)
class Orphan:
    """One block that waits for the own hash of `parent`; `copies` counts its announcements."""

    parent: int
    lora: str
    token_ids: tuple[int, ...]
    extra: tuple[object, ...] | None
    copies: int = 1


class Orphans(dict[int, Orphan]):
    """The parked blocks of one source, by engine hash, oldest first; they come and go by its methods."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._children: dict[int, dict[int, None]] = {}  # parent -> its orphans, in order of arrival

    def park(self, engine_hash: int, orphan: Orphan) -> bool:
        """Keep a block, or count one more copy of it; returns True when the bound pushed out the oldest."""
        if known := self.get(engine_hash):
            known.copies += 1
            return False
        self[engine_hash] = orphan
        self._children.setdefault(orphan.parent, {})[engine_hash] = None
        if len(self) <= self._limit:
            return False
        self.take(next(iter(self)))
        return True

    def parked(self) -> dict[int, Orphan]:
        """Return a copy of every block that waits, by engine hash, oldest first."""
        return {engine_hash: replace(orphan) for engine_hash, orphan in self.items()}

    def take(self, engine_hash: int) -> Orphan | None:
        """Return and drop one block with all its copies; None when it is not parked."""
        orphan = self.pop(engine_hash, None)
        if orphan:
            siblings = self._children[orphan.parent]
            del siblings[engine_hash]
            if not siblings:
                del self._children[orphan.parent]
        return orphan

    def clear(self) -> None:
        """Drop all."""
        super().clear()
        self._children.clear()

    def take_children(self, parent: int) -> list[tuple[int, Orphan]]:
        """Return and drop the blocks that waited for `parent`, with their engine hashes."""
        return [(child, self.pop(child)) for child in self._children.pop(parent, ())]

    def remove_copy(self, engine_hash: int, remaining: int | None = None) -> int:
        """Drop one copy of a block, or all but `remaining`; returns how many went: 0 of one not parked."""
        orphan = self.get(engine_hash)
        if orphan is None:
            return 0
        before, orphan.copies = orphan.copies, orphan.copies - 1 if remaining is None else remaining
        if not orphan.copies:
            self.take(engine_hash)
        return before - orphan.copies
