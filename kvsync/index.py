"""Which source holds which block, so that a prompt finds the pods that hold its prefix.

Rules:

1. A block is known by its engine hash within its source and by its own hash (see hashing) everywhere. Only
   own hashes are matched; they follow from the tokens and the parent's own hash, also within one event.
2. An event changes what its own source holds and nothing else.
3. A block whose parent is unknown is parked and attached when the parent arrives; it is never taken for the
   start of a prompt, and the number parked is bounded: the oldest goes first.
4. Presence is counted: a block is gone when every announced copy was removed.
5. A match is the contiguous prefix from the root; a hole ends it.
6. Only GPU blocks of one full-attention group are indexed, and memory is bounded on the event path.

Reasons: vLLM announces every physical copy of a block (a fully cached prompt recomputes its last one) and
each copy's eviction. Groups of hybrid models share block hashes, removals name only the group, and
sliding-window or mamba groups drop blocks in the middle of a prefix that is still usable. Parents are missing
after lost history, some connectors never announce them, and a child hashed from the root would match prompts
that have nothing to do with it. Walking a prefix block by block is exact with holes, where a bisection or a
radix tree is not.

Structure (measured: 180 bytes of resident memory a block at a million blocks, no garbage-collection cost):
for each model and LoRA one dict of own hash to an integer with one bit per source, for each source one dict
of engine hash to own hash. Only blocks under a LoRA adapter are in a further dict, of engine hash to LoRA: a
tuple of LoRA and own hash would cost every block 56 bytes.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from kvsync.events import GPU, AllBlocksCleared, BlockRemoved, BlockStored, Event, Source
from kvsync.hashing import DEFAULT_SEED, Extra, block_hashes

K = TypeVar("K", bound=Hashable)

DEFAULT_BLOCK_SIZE = 16
"""Tokens in a block, as in vLLM on GPUs."""

MAX_BLOCKS_PER_SOURCE = 2_000_000
"""Thirty-two million tokens, some sixteen times what the memory of one GPU server holds; a full ring of vLLM
can announce 1.3 million blocks (10 000 batches of 2048 tokens)."""

MAX_ORPHANS_PER_SOURCE = 10_000
"""One tenth of a usual cache: more means lost history, which a replay mends, not waiting."""

FULL_ATTENTION = frozenset({"full_attention", "mla_attention", "sink_full_attention"})
"""Kinds of cache that keep every token, as vLLM names them."""

Applied = dict[str, int]
"""What an event did, counted by label.

stored, removed: copies of blocks added or dropped; orphaned, reattached: blocks parked, or unparked because
their parent came;
dropped: blocks beyond a bound; unknown_removed: removals of blocks not held; mismatched: 1 when hashes and
tokens disagree; skipped_medium, skipped_group, skipped_block_size, skipped_hash_only: 1 for an event that is
not indexed.
"""


@dataclass(frozen=True, slots=True)
class Digest:
    """A source's blocks in short: their number and the exclusive or of their engine hashes."""

    blocks: int
    xor: int


@dataclass(slots=True, kw_only=True)
class Orphan:
    """One block that waits for the own hash of `parent`; `copies` counts its announcements."""

    parent: int
    lora: str
    token_ids: tuple[int, ...]
    extra: tuple[object, ...] | None
    copies: int = 1


class Orphans:
    """The parked blocks of one source, by engine hash, oldest first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parked: dict[int, Orphan] = {}
        self._children: dict[int, dict[int, None]] = {}  # parent -> its orphans, in order of arrival

    def __len__(self) -> int:
        return len(self._parked)

    def park(self, engine_hash: int, orphan: Orphan) -> bool:
        """Keep a block, or count one more copy of it; returns True when the bound pushed out the oldest."""
        if known := self._parked.get(engine_hash):
            known.copies += 1
            return False
        self._parked[engine_hash] = orphan
        self._children.setdefault(orphan.parent, {})[engine_hash] = None
        if len(self._parked) <= self._limit:
            return False
        self.take(next(iter(self._parked)))
        return True

    def take(self, engine_hash: int) -> Orphan | None:
        """Return and drop one block with all its copies; None when it is not parked."""
        orphan = self._parked.pop(engine_hash, None)
        if orphan:
            siblings = self._children[orphan.parent]
            del siblings[engine_hash]
            if not siblings:
                del self._children[orphan.parent]
        return orphan

    def take_children(self, parent: int) -> list[tuple[int, Orphan]]:
        """Return and drop the blocks that waited for `parent`, with their engine hashes."""
        return [(child, self._parked.pop(child)) for child in self._children.pop(parent, ())]

    def remove_copy(self, engine_hash: int) -> bool:
        """Drop one copy of a block; False when it is not parked."""
        orphan = self._parked.get(engine_hash)
        if orphan is None:
            return False
        orphan.copies -= 1
        if not orphan.copies:
            self.take(engine_hash)
        return True


@dataclass(slots=True, kw_only=True, eq=False)
class _Holding:
    """What one source holds. `bit` stands for it in every mask."""

    source: Source
    bit: int
    orphans: Orphans
    blocks: dict[int, int] = field(default_factory=dict)  # engine hash -> own hash
    loras: dict[int, str] = field(default_factory=dict)  # engine hash -> LoRA, where there is one
    copies: dict[int, int] = field(default_factory=dict)  # engine hash -> copies, where more than one
    sharers: dict[tuple[str, int], int] = field(default_factory=dict)  # block -> engine hashes, likewise
    group: int = 0
    xor: int = 0


class PrefixIndex:
    """Blocks of all sources. Not safe for threads: one task writes and reads it."""

    def __init__(
        self,
        block_size: int = DEFAULT_BLOCK_SIZE,
        seed: int = DEFAULT_SEED,
        *,
        max_blocks_per_source: int = MAX_BLOCKS_PER_SOURCE,
        max_orphans_per_source: int = MAX_ORPHANS_PER_SOURCE,
    ) -> None:
        self.block_size = block_size
        self.seed = seed
        self._max_blocks = max_blocks_per_source
        self._max_orphans = max_orphans_per_source
        self._contexts: dict[tuple[str, str], dict[int, int]] = {}  # model, LoRA -> own hash -> mask
        self._holdings: dict[Source, _Holding] = {}
        self._by_bit: dict[int, _Holding] = {}

    def apply(self, source: Source, event: Event) -> Applied:
        """Apply one event of a source; nothing that an engine sends raises, it is counted instead."""
        holding = self._holdings.get(source) or self._admit(source)
        match event:
            case BlockStored():
                return self._store(holding, event)
            case BlockRemoved():
                return self._remove(holding, event)
            case AllBlocksCleared():
                return {"removed": self._clear(holding)}

    def forget(self, source: Source) -> int:
        """Drop everything known of a source; returns the number of blocks it held."""
        holding = self._holdings.pop(source, None)
        if holding is None:
            return 0
        del self._by_bit[holding.bit]
        return self._clear(holding)

    def match(
        self, model: str, lora: str, hashes: Sequence[int], pods: Collection[str] | None = None
    ) -> dict[str, int]:
        """Return, by pod, how many blocks of the prefix it holds without a hole; pods with none are absent.

        `hashes` are own hashes from the root, made with this index's block size and seed. Of a pod's ranks
        the best counts. `pods` limits the answer.
        """
        matched: dict[str, int] = {}
        context = self._contexts.get((model, lora))
        if not context or not hashes:
            return matched
        alive = -1  # every bit
        for depth, own in enumerate(hashes):
            holders = alive & context.get(own, 0)
            if holders != alive:
                if depth:
                    self._credit(matched, alive & ~holders, depth)
                alive = holders
                if not alive:
                    break
        self._credit(matched, alive, len(hashes))
        return matched if pods is None else {pod: n for pod, n in matched.items() if pod in pods}

    def blocks(self, source: Source) -> dict[int, tuple[str, int]]:
        """Return what a source holds: engine hash to LoRA and own hash."""
        holding = self._holdings.get(source)
        if holding is None:
            return {}
        return {engine: (holding.loras.get(engine, ""), own) for engine, own in holding.blocks.items()}

    def digest(self, source: Source) -> Digest:
        """Return a short form of what a source holds, to compare it with the engine's own table."""
        holding = self._holdings.get(source)
        return Digest(len(holding.blocks), holding.xor) if holding else Digest(0, 0)

    def sources(self) -> list[Source]:
        """Return the sources that sent an event since they were last forgotten."""
        return list(self._holdings)

    def size(self, source: Source) -> int:
        """Return how many blocks a source holds; copies are one block."""
        holding = self._holdings.get(source)
        return len(holding.blocks) if holding else 0

    def orphans(self, source: Source) -> int:
        """Return how many blocks of a source wait for their parent."""
        holding = self._holdings.get(source)
        return len(holding.orphans) if holding else 0

    @property
    def blocks_total(self) -> int:
        """Blocks of all sources together."""
        return sum(len(holding.blocks) for holding in self._holdings.values())

    def _admit(self, source: Source) -> _Holding:
        bit = 1
        while bit in self._by_bit:  # the lowest free bit keeps the masks short
            bit <<= 1
        holding = _Holding(source=source, bit=bit, orphans=Orphans(self._max_orphans))
        self._holdings[source] = self._by_bit[bit] = holding
        return holding

    def _store(self, holding: _Holding, event: BlockStored) -> Applied:
        if reason := self._refusal(holding, event):
            return {reason: 1}
        applied: Applied = defaultdict(int)
        size, lora, extra, parent = self.block_size, _lora(event), _extra(event), event.parent_block_hash
        full = len(event.token_ids) // size
        hashes = event.block_hashes[: full if extra is None else min(full, len(extra))]
        if len(hashes) != len(event.block_hashes) or len(hashes) * size != len(event.token_ids):
            applied["mismatched"] = 1
        if parent is None or parent in holding.blocks:
            root = None if parent is None else holding.blocks[parent]
            tokens = event.token_ids[: len(hashes) * size]
            owns = block_hashes(tokens, size, seed=self.seed, parent=root, extra=extra)
            self._add(holding, lora, hashes, owns, applied)
            return applied
        for i, engine_hash in enumerate(hashes):
            tokens = event.token_ids[i * size : (i + 1) * size]
            orphan = Orphan(parent=parent, lora=lora, token_ids=tokens, extra=extra[i] if extra else None)
            self._add_or_park(holding, engine_hash, orphan, applied)
            parent = engine_hash
        return applied

    def _refusal(self, holding: _Holding, event: BlockStored) -> str:
        """Return the label under which an event is counted instead of indexed, "" for none."""
        if event.medium != GPU:
            return "skipped_medium"
        group, kind = event.group_idx or 0, event.spec_kind
        if event.group_idx is not None and kind is None and self._is_sparse(event):
            return "skipped_group"
        if kind in FULL_ATTENTION and not holding.blocks:
            holding.group = group  # learnt here, because removals name a group without its kind
        if group != holding.group or (kind is not None and kind not in FULL_ATTENTION):
            return "skipped_group"
        if not event.token_ids or not event.block_size:
            return "skipped_hash_only"
        return "" if event.block_size == self.block_size else "skipped_block_size"

    def _is_sparse(self, event: BlockStored) -> bool:
        """Whether hashes are given for some of the blocks only, as groups do that need only the last ones."""
        return len(event.token_ids) // self.block_size > len(event.block_hashes)

    def _add(
        self, holding: _Holding, lora: str, hashes: Sequence[int], owns: Sequence[int], applied: Applied
    ) -> None:
        """Add one copy of blocks whose own hashes are known, and every block that waited for them."""
        self._place(holding, lora, hashes, owns, 1, applied, "stored")
        arrived = list(hashes) if holding.orphans else []
        while arrived:  # no recursion: a chain of orphans can be longer than Python's stack
            parent = arrived.pop()
            if parent not in holding.blocks:  # a bound dropped it
                continue
            for child, orphan in holding.orphans.take_children(parent):
                own = self._own_hash(holding, orphan)
                self._place(holding, orphan.lora, [child], [own], orphan.copies, applied, "reattached")
                arrived.append(child)

    def _add_or_park(self, holding: _Holding, engine_hash: int, orphan: Orphan, applied: Applied) -> None:
        """Add or park one block of an event that began with an unknown parent."""
        if engine_hash in holding.blocks:
            lora, own = holding.loras.get(engine_hash, ""), holding.blocks[engine_hash]
            self._add(holding, lora, [engine_hash], [own], applied)
        elif orphan.parent in holding.blocks:
            own = self._own_hash(holding, orphan)
            self._add(holding, orphan.lora, [engine_hash], [own], applied)
        else:
            applied["orphaned"] += 1
            if holding.orphans.park(engine_hash, orphan):
                applied["dropped"] += 1

    def _own_hash(self, holding: _Holding, orphan: Orphan) -> int:
        """Return the own hash of a block whose parent is held."""
        parent = holding.blocks[orphan.parent]
        (own,) = block_hashes(orphan.token_ids, self.block_size, parent=parent, extra=[orphan.extra])
        return own

    def _place(
        self,
        holding: _Holding,
        lora: str,
        hashes: Sequence[int],
        owns: Sequence[int],
        copies: int,
        applied: Applied,
        label: str,
    ) -> None:
        """Count copies of blocks and show them to matches, under `label` or, beyond the bound, as dropped."""
        blocks, bit, placed = holding.blocks, holding.bit, 0
        context = self._contexts.setdefault((holding.source.model, lora), {})
        for engine_hash, own in zip(hashes, owns, strict=True):
            if engine_hash in blocks:
                holding.copies[engine_hash] = holding.copies.get(engine_hash, 1) + copies
            elif len(blocks) >= self._max_blocks:
                applied["dropped"] += copies
                continue
            else:
                blocks[engine_hash] = own
                if lora:
                    holding.loras[engine_hash] = lora
                holding.xor ^= engine_hash
                if copies > 1:
                    holding.copies[engine_hash] = copies
                mask = context.get(own, 0)
                if mask & bit:
                    holding.sharers[lora, own] = holding.sharers.get((lora, own), 1) + 1
                else:
                    context[own] = mask | bit
            placed += copies
        if placed:
            applied[label] += placed
        if not context:
            del self._contexts[holding.source.model, lora]

    def _remove(self, holding: _Holding, event: BlockRemoved) -> Applied:
        if event.medium != GPU:
            return {"skipped_medium": 1}
        if (event.group_idx or 0) != holding.group:
            return {"skipped_group": 1}
        applied: Applied = defaultdict(int)
        for engine_hash in event.block_hashes:
            if engine_hash in holding.copies:
                _decrease(holding.copies, engine_hash)
            elif engine_hash in holding.blocks:
                holding.xor ^= engine_hash
                lora, own = holding.loras.pop(engine_hash, ""), holding.blocks.pop(engine_hash)
                self._hide(holding, lora, own)
            elif not holding.orphans.remove_copy(engine_hash):
                applied["unknown_removed"] += 1
                continue
            applied["removed"] += 1
        return applied

    def _clear(self, holding: _Holding) -> int:
        """Drop all blocks of a source; returns how many there were."""
        dropped = len(holding.blocks)
        for engine_hash, own in holding.blocks.items():
            self._hide(holding, holding.loras.get(engine_hash, ""), own)
        holding.blocks.clear()
        holding.loras.clear()
        holding.copies.clear()
        holding.orphans = Orphans(self._max_orphans)
        holding.xor = 0
        return dropped

    def _hide(self, holding: _Holding, lora: str, own: int) -> None:
        """Take a block out of matches unless another engine hash of the source stands for it too."""
        if (lora, own) in holding.sharers:
            _decrease(holding.sharers, (lora, own))
            return
        name = (holding.source.model, lora)
        context = self._contexts[name]
        if mask := context[own] ^ holding.bit:
            context[own] = mask
            return
        del context[own]
        if not context:
            del self._contexts[name]

    def _credit(self, matched: dict[str, int], mask: int, depth: int) -> None:
        """Note a depth for every source in the mask; depths come in rising order, so the last is the best."""
        while mask:
            bit = mask & -mask
            matched[self._by_bit[bit].source.pod] = depth
            mask ^= bit


def _decrease(counts: dict[K, int], key: K) -> None:
    """Count one less in a dict that holds only counts above one."""
    if counts[key] == 2:
        del counts[key]
    else:
        counts[key] -= 1


def _lora(event: BlockStored) -> str:
    return event.lora_name or ("" if event.lora_id is None else f"#{event.lora_id}")


def _extra(event: BlockStored) -> tuple[Extra | None, ...] | None:
    """Return the extra keys without the LoRA name, which is a context of its own."""
    name = event.lora_name
    if event.extra_keys is None or name is None:
        return event.extra_keys
    return tuple([_without(keys, name) if keys else None for keys in event.extra_keys])


def _without(keys: Extra, name: str) -> Extra:
    if name not in keys:
        return keys
    position = keys.index(name)
    return keys[:position] + keys[position + 1 :]
