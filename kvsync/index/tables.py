"""What the index is kept in: dicts, or the compiled core's tables, which take a quarter of their memory.

Both are mappings of unsigned integers, so that what is seldom is done in one way, in Python. What is common
is done by the compiled core where it was built: a message straight from its bytes, a walk along a prompt, and
forgetting a source. Its tables take unsigned 64-bit hashes, as the codec makes them, and nothing else.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from types import ModuleType
from typing import cast

from kvsync import core
from kvsync.events import Source
from kvsync.hashing import PromptHashes
from kvsync.index.holding import Holding

Numbers = MutableMapping[int, int]
"""Engine hash to own hash, or own hash to a mask with one bit for each source."""

Named = tuple[Sequence[int], Sequence[int]]
"""Engine hashes of blocks, and their own hashes."""

TAKEN = ("stored", "removed", "unkeyed", "unknown_removed")
"""Labels of `Applied` of all that a message can do that is applied from its bytes."""

Taken = tuple[int, int | None, int, int, int, int, int, int]
"""What messages did that were applied from their bytes: how many they are; the rank that the last one names;
how many of their events were of stored and of removed blocks; and the counts of TAKEN."""

Taker = Callable[[Source, Sequence[bytes]], Taken | None]

READ = (
    *("number", "block_size", "announced_size", "blocks", "masks", "loras", "copies", "sharers", "orphans"),
    *("group", "groups", "keyed", "is_full", "xor"),
)
"""Fields of a Holding that the compiled core reads and writes, in its order (`index.c`)."""


class Tables:
    """Dicts, and everything done in Python."""

    make: Callable[[], Numbers] = dict

    def taker(self, holdings: Mapping[Source, Holding], room: int, seed: int) -> Taker:
        """Return what applies messages of a source up to the first that is not as most are; None: that is the
        first of all."""
        return _take_nothing

    def ends(self, masks: Numbers, hashes: Sequence[int], alive: int = -1) -> Iterable[tuple[int, int]]:
        """Return where the sources of `alive` end along a prompt: depth, and a mask of those that do."""
        return _ends(masks, hashes, alive)

    def place(
        self, holding: Holding, lora: str, masks: Numbers, named: Named, copies: int, room: int
    ) -> tuple[int, int, int]:
        """Count copies of blocks, `room` blocks at most, and put new ones into `masks`.

        Returns how many copies were placed, how many dropped, and how many blocks are unkeyed.
        """
        blocks, copied, bit = holding.blocks, holding.copies, holding.bit
        placed, dropped, unkeyed, xor = 0, 0, 0, holding.xor  # this loop is most of what large events cost
        has_groups = bool(holding.groups)
        for engine_hash, own in zip(*named, strict=True):
            if engine_hash in blocks:
                copied[engine_hash] = copied.get(engine_hash, 1) + copies
            elif len(blocks) >= room:
                dropped += copies
                continue
            else:
                blocks[engine_hash] = own
                xor ^= engine_hash
                if copies > 1:
                    copied[engine_hash] = copies
                if lora:
                    holding.loras[engine_hash] = lora
                if has_groups:
                    holding.give_name(lora, own, engine_hash)
                mask = masks.get(own, 0)
                if mask & bit:
                    holding.sharers[lora, own] = holding.sharers.get((lora, own), 1) + 1
                    unkeyed += 1
                else:
                    masks[own] = mask | bit
            placed += copies
        holding.xor = xor
        return placed, dropped, unkeyed

    def hide_all(self, holding: Holding, masks: Numbers) -> None:
        """Take a source out of the masks of all its blocks."""
        for own in holding.blocks.values():
            if mask := masks.get(own, 0) & ~holding.bit:
                masks[own] = mask
            else:
                masks.pop(own, None)


class NativeTables(Tables):
    """The compiled core's, which leaves to Python what is not common."""

    def __init__(self, compiled: ModuleType) -> None:
        compiled.bind_holding(Holding, READ)
        self.make = compiled.Table
        self._apply = compiled.apply
        self._place = compiled.place
        self._walk = compiled.walk
        self._hide_all = compiled.hide_all

    def taker(self, holdings: Mapping[Source, Holding], room: int, seed: int) -> Taker:
        """Do the same, without a call of Python's for each message: it would take longer than the rest."""
        return partial(self._apply, holdings, room, seed)

    def ends(self, masks: Numbers, hashes: Sequence[int], alive: int = -1) -> Iterable[tuple[int, int]]:
        """Do the same; masks may name sources beyond `alive`."""
        if isinstance(hashes, PromptHashes):
            found = self._walk(masks, *hashes.chain)
        else:
            found = self._walk(masks, [*hashes], None, 1, 0)
        return _ends(masks, hashes, alive) if found is None else cast("list[tuple[int, int]]", found)

    def place(
        self, holding: Holding, lora: str, masks: Numbers, named: Named, copies: int, room: int
    ) -> tuple[int, int, int]:
        """Do the same."""
        done: tuple[int, int, int] | None = None
        if copies == 1 and not lora and not holding.groups:
            done = self._place(holding, masks, *named, room)
        return done or super().place(holding, lora, masks, named, copies, room)

    def hide_all(self, holding: Holding, masks: Numbers) -> None:
        """Do the same."""
        self._hide_all(holding.blocks, masks, holding.number)


def tables() -> Tables:
    """Return those of the implementation that is chosen now."""
    return Tables() if core.compiled is None else NativeTables(core.compiled)


def _take_nothing(source: Source, payloads: Sequence[bytes]) -> None:
    """Take no message from its bytes."""


def _ends(masks: Numbers, hashes: Sequence[int], alive: int) -> Iterator[tuple[int, int]]:
    found = map(masks.get, hashes)
    alive &= next(found, None) or 0
    if not alive:
        return
    for depth, mask in enumerate(found, 1):
        if mask == alive:
            continue
        if lost := alive & ~(mask or 0):
            yield depth, lost
            alive ^= lost
            if not alive:
                return
    yield len(hashes), alive
