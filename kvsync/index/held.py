"""What one source holds, as a value that can leave the index and come back into another one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kvsync.index.groups import Group
from kvsync.index.holding import Holding
from kvsync.index.orphans import Orphan

Copies = Mapping[int, int]
"""How many copies there are of a block, by engine hash."""


@dataclass(frozen=True, slots=True)
class Digest:
    """A source's blocks in short: their number and the exclusive or of their engine hashes."""

    blocks: int
    xor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldGroup:
    """A group of layers that keeps a part of a prompt: blocks with their copies. `run` as in `Group`."""

    block_size: int
    run: int | None
    copies: Copies


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Everything that the index knows of one source; `block_size` in tokens, 0 if it is not known.

    `blocks` are own hashes by LoRA and engine hash, `copies` how many there are where there are several.
    `group` is that of full attention. `keyed`: it announces what enters its hashes besides tokens.
    """

    block_size: int
    blocks: Mapping[str, Mapping[int, int]]
    copies: Copies
    orphans: Mapping[int, Orphan]
    group: int | None
    groups: Mapping[int, HeldGroup]
    lora_ids: frozenset[int]
    keyed: bool
    reports_hits: bool
    is_full: bool

    @property
    def largest(self) -> int:
        """How many blocks the largest of its tables has."""
        whole = sum(map(len, self.blocks.values()))
        return max(whole, *(len(group.copies) for group in self.groups.values()), 0)


def taken(holding: Holding) -> Held:
    """Copy what a source holds now."""
    blocks: dict[str, dict[int, int]] = {"": dict(holding.blocks.items())}
    for engine_hash, lora in holding.loras.items():
        blocks.setdefault(lora, {})[engine_hash] = blocks[""].pop(engine_hash)
    return Held(
        block_size=holding.block_size,
        blocks=blocks,
        copies=dict(holding.copies),
        orphans=holding.orphans.parked(),
        group=holding.group,
        groups={
            number: HeldGroup(block_size=group.block_size, run=group.run, copies=dict(group.copies))
            for number, group in holding.groups.items()
        },
        lora_ids=frozenset(holding.lora_ids),
        keyed=holding.keyed,
        reports_hits=holding.reports_hits,
        is_full=holding.is_full,
    )


def give(held: Held, holding: Holding) -> None:
    """Give an empty source all that it held but its blocks, which others must see, too."""
    holding.group, holding.lora_ids, holding.keyed = held.group, set(held.lora_ids), held.keyed
    holding.reports_hits, holding.is_full = held.reports_hits, held.is_full
    for number, group in held.groups.items():
        holding.groups[number] = Group(block_size=group.block_size, run=group.run, copies=dict(group.copies))
    for engine_hash, orphan in held.orphans.items():
        holding.orphans.park(engine_hash, replace(orphan))
