"""Which source holds which block, so that a prompt finds the pods that hold its prefix.

Rules:

1. A block is known by its engine hash within its source and by its own hash (see hashing) everywhere. Only
   own hashes are matched; they follow from the tokens and the parent's own hash, also within one event.
2. An event changes what its own source holds and nothing else.
3. A block whose parent is unknown is parked and attached when the parent arrives; it is never taken for the
   start of a prompt, and the number parked is bounded: the oldest goes first.
4. Presence is counted: a block is gone when every announced copy was removed, or when the engine says that
   no copy remains. Hits that are announced again are not copies (see reports).
5. A match is the contiguous prefix from the root; a hole ends it. Groups that keep a part of a prompt shorten
   it to what the engine would reuse (see groups).
6. Only GPU blocks are indexed, each source's in the size that its engine announces, and memory is bounded on
   the event path.

Reasons: vLLM announces every physical copy of a block (a fully cached prompt recomputes its last one) and
each copy's eviction. Groups of hybrid models share block hashes, removals name only the group, and
sliding-window or mamba groups drop blocks in the middle of a prefix that is still usable. Parents are missing
after lost history, some connectors never announce them, and a child hashed from the root would match prompts
that have nothing to do with it. Walking a prefix block by block is exact with holes, where a bisection or a
radix tree is not.

Structure (measured: 180 bytes of resident memory a block at a million blocks, no garbage-collection cost):
for each model, LoRA and block size one dict of own hash to an integer with one bit per source, for each
source one dict of engine hash to own hash. Only blocks under a LoRA adapter are in a further dict, of engine
hash to LoRA: a tuple of LoRA and own hash would cost every block 56 bytes. Blocks of different sizes are in
different dicts because nothing keeps the bytes of a short block with a salt from being those of a longer one.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

from kvsync.events import GPU, AllBlocksCleared, BlockRemoved, BlockStored, Event, Source
from kvsync.hashing import DEFAULT_SEED, block_hashes
from kvsync.index.footprint import estimated
from kvsync.index.held import Digest, Held, give, taken
from kvsync.index.holding import MAX_BLOCKS_PER_SOURCE, MAX_ORPHANS_PER_SOURCE, Applied, Holding, decrease
from kvsync.index.keys import extra_of, lora_of
from kvsync.index.orphans import Orphan, Orphans
from kvsync.index.reports import Hashes, announced_again
from kvsync.index.tables import Numbers, Taker, tables

_Context = tuple[str, str, int]
"""Model, LoRA, and tokens in a block."""

DEFAULT_BLOCK_SIZE = 16
"""Tokens in a block, as in vLLM on GPUs: what hashes are taken to be of where nothing else is said."""

MAX_BLOCK_SIZES = 8
"""Of the sources of one model: each prompt is hashed for each of them, which takes as long as a lookup."""


class PrefixIndex:
    """Blocks of all sources. Not safe for threads: one task writes and reads it.

    Each source's block size (tokens) is learnt from its events; with `block_size`, blocks of another one are
    counted and left out.

    `apply_payloads` applies messages of a source (a list or tuple) straight from their bytes, up to the first
    that is not as most are, if the core is compiled. None, and nothing is changed: that is the first of all,
    which is to be decoded for `apply_batch`.
    """

    apply_payloads: Taker

    def __init__(
        self,
        block_size: int | None = None,
        seed: int = DEFAULT_SEED,
        *,
        max_blocks_per_source: int = MAX_BLOCKS_PER_SOURCE,
        max_orphans_per_source: int = MAX_ORPHANS_PER_SOURCE,
    ) -> None:
        self.block_size = block_size
        self.seed = seed
        self._max_blocks = max_blocks_per_source
        self._max_orphans = max_orphans_per_source
        self._tables = tables()
        self._contexts: dict[_Context, Numbers] = {}  # own hash -> mask
        self._holdings: dict[Source, Holding] = {}
        self.apply_payloads = self._tables.taker(self._holdings, max_blocks_per_source, seed)
        self._by_bit: dict[int, Holding] = {}
        self._sizes: dict[str, Counter[int]] = {}  # model -> block size -> sources
        self._keyed = 0  # mask of the sources that announce extra keys
        self._grouped = 0  # mask of those with groups that keep a part of a prompt

    def apply(self, source: Source, event: Event) -> Applied:
        """Apply the only event of a batch."""
        return self.apply_batch(source, (event,))[0]

    def apply_batch(self, source: Source, events: Sequence[Event]) -> list[Applied]:
        """Apply one batch of a source; returns what each event did.

        Nothing that an engine sends raises, it is counted instead. What a batch holds is looked at together:
        hits that are announced again are told from copies by what comes with them.
        """
        holding = self._holdings.get(source) or self._admit(source)
        if holding.group is None:
            holding.learn_group(events)
        again: Collection[Hashes] = ()
        if holding.is_full:
            again, holding.reports_hits = announced_again(
                events, holding.blocks, group=holding.group or 0, suspected=holding.reports_hits
            )
        return [self._apply(holding, event, again) for event in events]

    def _apply(self, holding: Holding, event: Event, again: Collection[Hashes]) -> Applied:
        match event:
            case BlockStored():
                if again and event.block_hashes in again and holding.repeats(event):
                    return {"reannounced": len(event.block_hashes)}
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
        dropped = self._clear(holding)
        self._learn_size(holding, 0)
        self._keyed &= ~holding.bit
        self._grouped &= ~holding.bit
        del self._by_bit[holding.bit]
        return dropped

    def held(self, source: Source) -> Held | None:
        """Return a copy of everything that is known of a source, for `restore`; None: nothing is."""
        holding = self._holdings.get(source)
        return taken(holding) if holding else None

    def restore(self, source: Source, held: Held) -> None:
        """Know of a source what was `held` of it; raises ValueError, and knows nothing, if that is too much
        for the bounds or its blocks are of another size than `block_size`."""
        self.forget(source)
        holding, size = self._admit(source), held.block_size or self.block_size or 0
        sized = holding.block_size == size or self._adopt_size(holding, size)
        if not sized or held.largest > self._max_blocks or len(held.orphans) > self._max_orphans:
            self.forget(source)
            raise ValueError(f"{held.largest} blocks of {size} tokens are too many, or of another block_size")
        give(held, holding)
        self._keyed |= holding.bit if held.keyed else 0
        self._grouped |= holding.bit if held.groups else 0
        for lora, owns in held.blocks.items():
            self._place(holding, lora, [*owns], [*owns.values()], 1, Counter(), "restored")
        holding.copies.update(held.copies)

    def match(
        self,
        model: str,
        lora: str,
        hashes: Sequence[int],
        pods: Collection[str] | None = None,
        *,
        block_size: int | None = None,
    ) -> dict[str, int]:
        """Return what `match_sources` does by pod, of whose ranks the best counts."""
        matched: dict[str, int] = {}
        for source, blocks in self.match_sources(model, lora, hashes, pods, block_size=block_size).items():
            matched[source.pod] = max(blocks, matched.get(source.pod, 0))
        return matched

    def match_sources(
        self,
        model: str,
        lora: str,
        hashes: Sequence[int],
        pods: Collection[str] | None = None,
        *,
        block_size: int | None = None,
        keyed: bool | None = None,
    ) -> dict[Source, int]:
        """Return, by source, how many blocks of the prefix its engine would reuse; without any it is absent.

        `hashes` are own hashes from the root, made with this index's seed and `block_size`, by default that
        of the index or else 16. `pods` limits the answer, as does `keyed` to sources that do or do not
        announce what enters their hashes besides tokens.
        """
        matched: dict[Source, int] = {}
        size = block_size or self.block_size or DEFAULT_BLOCK_SIZE
        context = self._contexts.get((model, lora, size))
        if not context or not hashes:
            return matched
        alive = -1 if keyed is None else self._keyed if keyed else ~self._keyed
        for depth, mask in self._tables.ends(context, hashes, alive):
            self._credit(matched, mask & alive, lora, hashes, depth)
        return matched if pods is None else {source: n for source, n in matched.items() if source.pod in pods}

    @property
    def has_groups(self) -> bool:
        """Whether any source reuses less than the longest prefix that it holds."""
        return bool(self._grouped)

    def block_sizes(self, model: str) -> list[int]:
        """Return the block sizes of a model's sources, in tokens, each once."""
        return sorted(self._sizes.get(model, ()))

    def block_size_of(self, source: Source) -> int:
        """Return the block size that a source announces, also if such blocks are left out; 0: none yet."""
        holding = self._holdings.get(source)
        return holding.announced_size if holding else 0

    def lora_ids(self, *sources: Source) -> set[int]:
        """Return the adapters that sources named by numbers alone; their blocks are filed under `#NUMBER`."""
        holdings = [self._holdings[source] for source in sources if source in self._holdings]
        return {number for holding in holdings for number in holding.lora_ids}

    def blocks(self, source: Source) -> dict[int, tuple[str, int]]:
        """Return what a source holds: engine hash to LoRA and own hash."""
        holding = self._holdings.get(source)
        if holding is None:
            return {}
        return {engine: (holding.loras.get(engine, ""), own) for engine, own in holding.blocks.items()}

    def tables(self, source: Source) -> dict[int, dict[int, int]]:
        """Return the copies of each block, by group and engine hash: what an engine's own table has."""
        holding = self._holdings.get(source)
        if holding is None:
            return {}
        full = {engine: holding.copies.get(engine, 1) for engine in holding.blocks}
        parts = {number: dict(group.copies) for number, group in holding.groups.items()}
        return {holding.group or 0: full, **parts}

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

    @property
    def bytes_estimated(self) -> int:
        """Memory of everything that is known, in bytes, estimated."""
        return estimated(self._contexts.values(), self._holdings.values())

    def _admit(self, source: Source) -> Holding:
        number = 0
        while 1 << number in self._by_bit:  # the lowest free bit keeps the masks short
            number += 1
        holding = Holding(
            source=source,
            number=number,
            bit=(bit := 1 << number),
            orphans=Orphans(self._max_orphans),
            block_size=0,
            blocks=self._tables.make(),
        )
        self._holdings[source] = self._by_bit[bit] = holding
        self._learn_size(holding, self.block_size or 0)
        return holding

    def _learn_size(self, holding: Holding, block_size: int) -> None:
        """Note the block size of an empty source, 0 to forget it."""
        if not self._contexts.get(name := (holding.source.model, "", holding.block_size), True):
            del self._contexts[name]  # its last block was removed
        sizes = self._sizes.setdefault(holding.source.model, Counter())
        sizes[holding.block_size] -= 1
        sizes[block_size] += 1
        holding.block_size, holding.masks = block_size, None
        for unused in [size for size, sources in sizes.items() if not size or sources <= 0]:
            del sizes[unused]
        if not sizes:
            del self._sizes[holding.source.model]

    def _store(self, holding: Holding, event: BlockStored) -> Applied:
        if event.medium != GPU:
            return {"skipped_medium": 1}
        try:
            group = holding.group_of(event)
        except ValueError:
            return {"skipped_group": 1}
        if group is not None:
            self._grouped |= holding.bit
            return group.add_copies(event.block_hashes, self._max_blocks)
        if not event.token_ids or not event.block_size:
            return {"skipped_hash_only": 1}
        holding.announced_size = event.block_size
        if event.block_size != holding.block_size and not self._adopt_size(holding, event.block_size):
            return {"skipped_block_size": 1}
        return self._store_blocks(holding, event)

    def _adopt_size(self, holding: Holding, block_size: int) -> bool:
        """Take a source's block size from an event if nothing contradicts it."""
        if self.block_size is not None or holding.blocks or len(holding.orphans):
            return False
        sizes = self._sizes.get(holding.source.model, Counter())
        if block_size not in sizes and len(sizes) >= MAX_BLOCK_SIZES:
            return False
        self._learn_size(holding, block_size)
        return True

    def _store_blocks(self, holding: Holding, event: BlockStored) -> Applied:
        applied: Applied = defaultdict(int)
        size, lora, extra, parent = event.block_size, event.lora_name or "", None, event.parent_block_hash
        if event.lora_id is not None and not lora:
            lora = lora_of(event)
            if holding.note_lora(event):
                applied["lora_by_id"] = 1
        if event.extra_keys is not None:
            extra = extra_of(event)
            self._keyed |= holding.bit
            holding.keyed = True
        full = len(event.token_ids) // size
        hashes = event.block_hashes[: full if extra is None else min(full, len(extra))]
        if len(hashes) != len(event.block_hashes) or len(hashes) * size != len(event.token_ids):
            applied["mismatched"] = 1
        if parent is None or parent in holding.blocks:
            root = self.seed if parent is None else holding.blocks[parent]
            tokens = event.token_ids[: len(hashes) * size]
            owns = block_hashes(tokens, size, parent=root, extra=extra)
            self._place(holding, lora, hashes, owns, 1, applied, "stored")
            if holding.orphans:
                self._attach(holding, hashes, applied)
            return applied
        for i, engine_hash in enumerate(hashes):
            tokens = event.token_ids[i * size : (i + 1) * size]
            orphan = Orphan(parent=parent, lora=lora, token_ids=tokens, extra=extra[i] if extra else None)
            self._add_or_park(holding, engine_hash, orphan, applied)
            parent = engine_hash
        return applied

    def _attach(self, holding: Holding, parents: Iterable[int], applied: Applied) -> None:
        """Add every block that waited for one of `parents`, or for one that did."""
        arrived = list(parents)
        while arrived:  # no recursion: a chain of orphans can be longer than Python's stack
            parent = arrived.pop()
            if parent not in holding.blocks:  # a bound dropped it
                continue
            for child, orphan in holding.orphans.take_children(parent):
                own = self._own_hash(holding, orphan)
                self._place(holding, orphan.lora, [child], [own], orphan.copies, applied, "reattached")
                arrived.append(child)

    def _add_or_park(self, holding: Holding, engine_hash: int, orphan: Orphan, applied: Applied) -> None:
        """Add or park one block of an event that began with an unknown parent."""
        if engine_hash in holding.blocks:
            lora, own = holding.loras.get(engine_hash, ""), holding.blocks[engine_hash]
        elif orphan.parent in holding.blocks:
            lora, own = orphan.lora, self._own_hash(holding, orphan)
        else:
            applied["orphaned"] += 1
            if holding.orphans.park(engine_hash, orphan):
                applied["dropped"] += 1
            return
        self._place(holding, lora, [engine_hash], [own], 1, applied, "stored")
        self._attach(holding, [engine_hash], applied)

    def _own_hash(self, holding: Holding, orphan: Orphan) -> int:
        """Return the own hash of a block whose parent is held."""
        parent = holding.blocks[orphan.parent]
        (own,) = block_hashes(orphan.token_ids, holding.block_size, parent=parent, extra=[orphan.extra])
        return own

    def _place(
        self,
        holding: Holding,
        lora: str,
        hashes: Sequence[int],
        owns: Sequence[int],
        copies: int,
        applied: Applied,
        label: str,
    ) -> None:
        """Count copies of blocks and show them to matches, under `label` or, beyond the bound, as dropped."""
        name = (holding.source.model, lora, holding.block_size)
        context = self._contexts.get(name)
        if context is None:
            context = self._contexts[name] = self._tables.make()
        if not lora:
            holding.masks = context
        counts = self._tables.place(holding, lora, context, (hashes, owns), copies, self._max_blocks)
        for its, count in zip((label, "dropped", "unkeyed"), counts, strict=True):
            if count:
                applied[its] += count
        if not context:
            del self._contexts[name]

    def _remove(self, holding: Holding, event: BlockRemoved) -> Applied:
        if event.medium != GPU:
            return {"skipped_medium": 1}
        try:
            group = holding.removed_from(event)
        except ValueError:
            return {"skipped_group": 1}
        applied: Applied = defaultdict(int)
        holding.is_full = True
        counts: Sequence[int | None] = event.remaining_copies or ()
        if len(counts) != len(event.block_hashes):
            counts = (None,) * len(event.block_hashes)
        for engine_hash, remaining in zip(event.block_hashes, counts, strict=True):
            if group is not None:
                gone, label = group.remove_copy(engine_hash, remaining), "group_removed"
            elif engine_hash in holding.blocks:
                gone, label = self._remove_copy(holding, engine_hash, remaining), "removed"
            else:
                gone, label = holding.orphans.remove_copy(engine_hash, remaining), "removed"
            applied[label if gone else "unknown_removed"] += gone or 1
        return applied

    def _remove_copy(self, holding: Holding, engine_hash: int, remaining: int | None) -> int:
        """Drop one copy of a block that is held, or all but `remaining`; returns how many went."""
        copies = holding.copies.pop(engine_hash, 1)
        left = copies - 1 if remaining is None else min(copies, remaining)
        if left > 1:
            holding.copies[engine_hash] = left
        if not left:
            holding.xor ^= engine_hash
            lora, own = holding.loras.pop(engine_hash, ""), holding.blocks.pop(engine_hash)
            if holding.names.get((lora, own)) == engine_hash:
                del holding.names[lora, own]
            self._hide(holding, lora, own)
        return copies - left

    def _clear(self, holding: Holding) -> int:
        """Drop all blocks of a source; returns how many there were."""
        dropped = len(holding.blocks)
        for engine_hash, lora in holding.loras.items():
            self._hide(holding, lora, holding.blocks.pop(engine_hash))
        if (context := self._contexts.get((holding.source.model, "", holding.block_size))) is not None:
            self._tables.hide_all(holding, context)
        for table in (holding.blocks, holding.loras, holding.copies, holding.names, holding.sharers):
            table.clear()
        for group in holding.groups.values():
            group.copies.clear()
        holding.orphans.clear()
        holding.xor, holding.is_full, holding.reports_hits = 0, False, False
        return dropped

    def _hide(self, holding: Holding, lora: str, own: int) -> None:
        """Take a block out of matches unless another engine hash of the source stands for it too."""
        if (lora, own) in holding.sharers:
            decrease(holding.sharers, (lora, own))
            return
        name = (holding.source.model, lora, holding.block_size)
        context = self._contexts[name]
        if mask := context[own] ^ holding.bit:
            context[own] = mask
            return
        del context[own]
        if not context:
            del self._contexts[name]

    def _credit(
        self, matched: dict[Source, int], mask: int, lora: str, hashes: Sequence[int], depth: int
    ) -> None:
        """Note for every source in the mask that it holds `depth` blocks, or how many its engine reuses."""
        while mask:
            bit = mask & -mask
            mask ^= bit
            holding = self._by_bit[bit]
            reused = holding.reuse(lora, hashes, depth) if holding.groups else depth
            if reused:
                matched[holding.source] = reused
