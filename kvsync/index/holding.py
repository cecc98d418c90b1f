"""What one source holds, and what it has shown of how its engine announces."""

from collections.abc import Hashable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from kvsync.events import BlockRemoved, BlockStored, Event, Source
from kvsync.index.groups import FULL_ATTENTION, MAX_GROUPS, Group, longest_reuse, run_of
from kvsync.index.orphans import Orphans

MAX_BLOCKS_PER_SOURCE = 2_000_000
"""Thirty-two million tokens, some sixteen times what the memory of one GPU server holds; a full ring of vLLM
can announce 1.3 million blocks (10 000 batches of 2048 tokens)."""

MAX_ORPHANS_PER_SOURCE = 10_000
"""One tenth of a usual cache: more means lost history, which a replay mends, not waiting."""

MAX_LORA_IDS = 1_000
"""More adapters than one engine serves."""

K = TypeVar("K", bound=Hashable)

Applied = dict[str, int]
"""What events did, counted by label.

stored, removed: copies of blocks added or dropped; group_stored, group_removed: likewise in groups that keep
a part of a prompt; orphaned, reattached: blocks parked, or unparked because their parent came;
dropped: blocks beyond a bound; unknown_removed: removals of blocks not held; reannounced: hits that were
announced again as stored; unkeyed: blocks of which the source holds the same tokens under another hash, so
that something besides the tokens was not announced; mismatched: 1 when hashes and tokens disagree;
lora_by_id: 1 for an event that names an adapter by its number alone; skipped_medium, skipped_group,
skipped_block_size, skipped_hash_only: 1 for an event that is not indexed.
"""


@dataclass(slots=True, kw_only=True, eq=False)
class Holding:
    """What one source holds. Bit `number` stands for it in every mask; `block_size` is 0 until it is learnt.

    `announced_size` is that of its last event, which may be left out for it. `masks` are those of the context
    that its blocks without an adapter were put into last. Both kinds of tables are those of `tables`.
    """

    source: Source
    number: int
    bit: int
    orphans: Orphans
    block_size: int
    blocks: MutableMapping[int, int]  # engine hash -> own hash
    masks: MutableMapping[int, int] | None = None
    announced_size: int = 0
    loras: dict[int, str] = field(default_factory=dict)  # engine hash -> LoRA, where there is one
    copies: dict[int, int] = field(default_factory=dict)  # engine hash -> copies, where more than one
    sharers: dict[tuple[str, int], int] = field(default_factory=dict)  # block -> engine hashes, likewise
    group: int | None = None  # the one of full attention
    groups: dict[int, Group] = field(default_factory=dict)  # all others
    names: dict[tuple[str, int], int] = field(default_factory=dict)  # block -> engine hash, with groups only
    lora_ids: set[int] = field(default_factory=set)
    keyed: bool = False  # it announces what enters its hashes besides tokens
    reports_hits: bool = False
    is_full: bool = False  # blocks were evicted since the cache was empty
    xor: int = 0

    def learn_group(self, events: Iterable[Event]) -> None:
        """Note which group is the one of full attention: removals name a group without its kind."""
        for event in events:
            if isinstance(event, BlockStored) and event.spec_kind in FULL_ATTENTION:
                self.group = event.group_idx or 0
                return

    def group_of(self, event: BlockStored) -> Group | None:
        """Return the group that an event is about, None for the one of full attention.

        Raises ValueError for a group that cannot be followed, as all of a model without full attention.
        """
        number, kind = event.group_idx or 0, event.spec_kind
        if number == (self.group or 0) and (kind is None or kind in FULL_ATTENTION):
            if event.group_idx is not None and kind is None and _is_sparse(event):
                raise ValueError("a group without a kind that keeps some of its blocks only")
            return None
        if self.group is None:
            raise ValueError("without a group of full attention there is nothing to shorten")
        if self.block_size not in (0, event.block_size):
            raise ValueError("the group's blocks are of another size than those of full attention")
        return self.groups.get(number) or self._admit(number, event)

    def removed_from(self, event: BlockRemoved) -> Group | None:
        """Return the group that a removal is about, None for full attention; raises ValueError if unknown."""
        number = event.group_idx or 0
        if number in self.groups:
            return self.groups[number]
        if number != (self.group or 0):
            raise ValueError("a removal of a group that is not followed")
        return None

    def repeats(self, event: BlockStored) -> bool:
        """Whether blocks from the root on end with one that is held in their group."""
        group = self.groups.get(event.group_idx or 0)
        last = event.block_hashes[-1]
        return event.parent_block_hash is None and last in (group.copies if group else self.blocks)

    def reuse(self, lora: str, hashes: Sequence[int], blocks: int) -> int:
        """Return how many of `blocks` blocks that the group of full attention holds can be reused."""

        def engine_hash(position: int) -> int | None:
            return self.names.get((lora, hashes[position]))

        groups = [group for group in self.groups.values() if group.block_size == self.block_size]
        return longest_reuse(groups, engine_hash, blocks)

    def give_name(self, lora: str, own: int, engine_hash: int) -> None:
        """Let groups know a block; of several names it has the largest, in whatever order they come."""
        self.names[lora, own] = max(engine_hash, self.names.get((lora, own), 0))

    def note_lora(self, event: BlockStored) -> bool:
        """Remember an adapter that is named by its number alone; says whether it is."""
        if event.lora_name is not None or event.lora_id is None:
            return False
        if len(self.lora_ids) < MAX_LORA_IDS:
            self.lora_ids.add(event.lora_id)
        return True

    def _admit(self, number: int, event: BlockStored) -> Group:
        if len(self.groups) >= MAX_GROUPS:
            raise ValueError("more groups than any model has")
        group = Group(block_size=event.block_size, run=run_of(event))
        if not self.groups:
            for name, own in self.blocks.items():
                self.give_name(self.loras.get(name, ""), own, name)
        self.groups[number] = group
        return group


def _is_sparse(event: BlockStored) -> bool:
    """Whether hashes are given for some of the blocks only, as groups do that need only the last ones."""
    return event.block_size > 0 and len(event.token_ids) // event.block_size > len(event.block_hashes)


def decrease(counts: dict[K, int], key: K) -> None:
    """Count one less in a dict that holds only counts above one."""
    if counts[key] == 2:
        del counts[key]
    else:
        counts[key] -= 1
