"""Groups of layers that do not keep all of a prompt, as hybrid models have, and what vLLM reuses with them.

The rule is that of vLLM's coordinator of hybrid caches, restated: a prefix is reused up to the longest length
of which every group holds what its layers would look at next. Full attention looks at everything before it, a
sliding window of `w` tokens at the last `w - 1`, rounded up to whole blocks, and a Mamba layer at one state.
A prompt that is shorter than a group's window needs all of its blocks there. No group proves a length that
another one lacks, so the longest common one is found by shortening until all agree.
"""

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

    def remove_copy(self, engine_hash: int, remaining: int | None = None) -> int:
        """Drop one copy of a block, or all but `remaining`; returns how many went."""
        before = self.copies.get(engine_hash, 0)
        after = min(before, max(0, before - 1) if remaining is None else remaining)
        if after:
            self.copies[engine_hash] = after
        else:
            self.copies.pop(engine_hash, None)
        return before - after

    def longest(self, engine_hash: Callable[[int], int | None], blocks: int) -> int:
        """Return the longest reuse of at most `blocks` blocks that this group allows.

        `engine_hash` names the block at a position, None where it has no name.
        """
        held = 0
        for position in range(blocks - 1, -1, -1):
            held = held + 1 if engine_hash(position) in self.copies else 0
            if held == self.run:
                return position + held
        return held


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
    """Return the longest reuse of at most `blocks` blocks that all groups allow."""
    checked = tuple(groups)
    while True:
        before = blocks
        for group in checked:
            blocks = group.longest(engine_hash, blocks)
        if blocks == before:
            return blocks
