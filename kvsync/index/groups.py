"""Groups of layers that do not keep all of a prompt, as hybrid models have, and what vLLM reuses with them.

The rule is that of vLLM's coordinator of hybrid caches, restated: a prefix is reused up to the longest length
of which every group holds what its layers would look at next. Full attention looks at everything before it, a
sliding window of `w` tokens at the last `w - 1`, rounded up to whole blocks, and a Mamba layer at one state.
A prompt that is shorter than a group's window needs all of its blocks there. No group proves a length that
another one lacks, so the longest common one is found by shortening until all agree.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kvsync.events import BlockStored

FULL_ATTENTION = frozenset({"full_attention", "mla_attention", "sink_full_attention"})
"""Kinds of cache that keep every token, as vLLM names them."""

SLIDING_WINDOW = frozenset({"sliding_window", "sliding_window_mla"})

MAX_GROUPS = 32
"""More than any model has; each has tables of its own."""


@dataclass(slots=True, kw_only=True, eq=False)
class Group:
    """The blocks of one group, with their copies, by engine hash. `run`: how many must precede a reuse in
    a row, None for all from the start."""

    block_size: int
    run: int | None
    copies: dict[int, int] = field(default_factory=dict)

    def add_copies(self, engine_hashes: Iterable[int], room: int) -> dict[str, int]:
        """Count a copy of each block, of `room` blocks at most; returns how many by label of `Applied`."""
        applied: dict[str, int] = defaultdict(int)
        for engine_hash in engine_hashes:
            if engine_hash not in self.copies and len(self.copies) >= room:
                applied["dropped"] += 1
                continue
            self.copies[engine_hash] = self.copies.get(engine_hash, 0) + 1
            applied["group_stored"] += 1
        return applied

    def remove_copy(self, engine_hash: int, remaining: int | None = None) -> int:
        """Drop one copy of a block, or all but `remaining`; returns how many went."""
        before = self.copies.get(engine_hash, 0)
        after = min(before, max(0, before - 1) if remaining is None else remaining)
        if after:
            self.copies[engine_hash] = after
        else:
            self.copies.pop(engine_hash, None)
        return before - after


class _Search:
    """Looks for what one group allows to reuse, from the end of a prompt on, at each block once."""

    def __init__(self, group: Group, engine_hash: Callable[[int], int | None], blocks: int) -> None:
        self._held, self._run = group.copies, group.run
        self._engine_hash = engine_hash
        self._first = blocks  # of the blocks that are known to be held in a row

    def longest(self, blocks: int) -> int:
        """Return the longest reuse of at most `blocks` blocks, never more than the call before gave."""
        end, first = blocks, min(self._first, blocks)
        while first and (self._run is None or end - first < self._run):
            first -= 1
            if self._engine_hash(first) not in self._held:
                end = first
        self._first = first
        return end


def run_of(event: BlockStored) -> int | None:
    """Return the `run` of an event's group. Raises ValueError for a kind whose reuse is not known."""
    if event.spec_kind in FULL_ATTENTION:
        return None
    if event.spec_kind in SLIDING_WINDOW and event.sliding_window and event.block_size:
        return max(1, -(-(event.sliding_window - 1) // event.block_size))
    if event.spec_kind == "mamba":
        return 1
    raise ValueError(f"it is not known what a group of kind {event.spec_kind!r} reuses")


def longest_reuse(groups: Iterable[Group], engine_hash: Callable[[int], int | None], blocks: int) -> int:
    """Return the longest reuse of at most `blocks` blocks that all groups allow.

    `engine_hash` names the block at a position, None where it has no name.
    """
    searches = [_Search(group, engine_hash, blocks) for group in groups]
    while True:
        before = blocks
        for search in searches:
            blocks = search.longest(blocks)
        if blocks == before:
            return blocks
