"""The KV cache of one engine: what vLLM V1's KVCacheManager and BlockPool decide, without the tensors.

Rules, in vLLM's words:
- A prompt reuses its longest cached prefix, found block by block up to the first miss, and never its last
  token: that one is computed again to get its logits, so a fully cached prompt recomputes its last block.
- Hits are taken out of the free queue before new blocks are drawn from its head. A drawn block that still
  holds a cached hash loses it, with one BlockRemoved per block.
- A block is cached, and announced, as soon as it is scheduled to become full: one BlockStored for each
  contiguous run, whose parent is the block before the first (none at the root).
- The same content computed twice is kept twice: two physical copies of one hash, announced twice and later
  removed twice.
- A request that wants its prompt's logprobs reads nothing from the cache. One with `kv_cache_report_mode`
  full has its hits announced again, as stored.
- With EAGLE the last block of each hit is computed again, for the hidden states that the draft model needs.
- A finished request gives its blocks back last first, so that leaves are evicted before their parents;
  blocks without a hash go to the head of the queue, for nothing can ever match them.

`capacity` counts usable blocks; vLLM's num_gpu_blocks has one more, its null block.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from kvsync.errors import KVSyncError
from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, Event
from kvsync.simulator.digest import as_int, block_digest, root_digest
from kvsync.simulator.window import SlidingWindow, Slots

GROUP = 0
"""The only KV cache group of a model with one kind of attention; beside a sliding window the next one."""
SPEC_KIND = "full_attention"


class OutOfBlocks(KVSyncError):
    """Too few blocks are free now; some come back when a request ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheScope:
    """What a block depends on besides its tokens: blocks of different scopes never match."""

    lora_name: str | None = None
    lora_id: int | None = None
    salt: str | None = None

    def extra_keys(self, position: int) -> tuple[str, ...] | None:
        """What enters the hash of the block at `position`; the salt enters the first block only."""
        keys = (self.lora_name, self.salt if position == 0 else None)
        return tuple(key for key in keys if key is not None) or None


BASE_MODEL = CacheScope()


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Whether a request `reads` what is cached, and whether its hits are announced like new blocks."""

    reads: bool = True
    reports_hits: bool = False


READING = CacheUse()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What a new request got: `cached_tokens` it need not compute, and what happened to the cache."""

    cached_tokens: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """One cached hash with the content it stands for; `salt` only where it entered the hash itself."""

    hash: int
    parent: int | None
    token_ids: tuple[int, ...]
    lora: str
    salt: str | None
    copies: int


@dataclass(slots=True, eq=False)
class _Content:
    """A cached hash and the physical blocks that hold it, oldest first."""

    digest: bytes
    hash: int
    parent: int | None
    token_ids: tuple[int, ...]
    extra: tuple[str, ...] | None
    scope: CacheScope
    copies: dict[int, "_Block"] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Block:
    """A physical block; free when `users` is 0, and even then its content may still be found."""

    number: int
    users: int = 0
    content: _Content | None = None


@dataclass(slots=True, eq=False)
class _Sequence:
    """The computed tokens of one request, the blocks under them, the digests of the full ones."""

    scope: CacheScope
    tokens: list[int]
    blocks: list[_Block]
    digests: list[bytes]
    slots: Slots = field(default_factory=list)


class BlockCache:
    """Physical blocks, which requests use them, and which content they hold. Deterministic; does no I/O."""

    def __init__(
        self,
        capacity: int,
        block_size: int = 16,
        seed: int = 0,
        *,
        recomputes_last_block: bool = False,
        sliding_window: int = 0,
    ) -> None:
        self.capacity, self.block_size = capacity, block_size
        self._window = SlidingWindow(capacity, block_size, sliding_window) if sliding_window else None
        self._group = GROUP + 1 if sliding_window else GROUP
        self._recomputes = recomputes_last_block
        self._root = root_digest(seed)
        self._free = OrderedDict((n, _Block(n)) for n in range(capacity))
        self._contents: dict[bytes, _Content] = {}
        self._sequences: dict[str, _Sequence] = {}

    @property
    def free_blocks(self) -> int:
        """Blocks that no request uses, whether or not their content can still be found."""
        return len(self._free)

    @property
    def usage(self) -> float:
        """The fraction of blocks that requests use, 0 to 1."""
        return 1 - len(self._free) / self.capacity

    def allocate(
        self,
        request: str,
        token_ids: Sequence[int],
        scope: CacheScope = BASE_MODEL,
        budget: int | None = None,
        use: CacheUse = READING,
    ) -> Allocation:
        """Start a request: reuse what is cached of `token_ids`, compute at most `budget` tokens of the rest.

        Raises OutOfBlocks, with nothing changed, when that needs more blocks than are free.
        """
        hits = self._cached_prefix(token_ids, scope) if use.reads else []
        cached = len(hits) * self.block_size
        end = len(token_ids) if budget is None else min(len(token_ids), cached + budget)
        fresh = self._blocks_for(end) - len(hits)
        self._require(fresh + sum(block.users == 0 for block in hits), fresh + len(hits))
        for block in hits:
            self._free.pop(block.number, None)
            block.users += 1
        found = [block.content for block in hits if block.content]
        digests = [content.digest for content in found]
        slots = self._window.begin(digests) if self._window else []
        sequence = _Sequence(scope, list(token_ids[:cached]), hits, digests, slots)
        self._sequences[request] = sequence
        again = self._announce(scope, None, found) if found and use.reports_hits else ()
        computed = self._compute(sequence, token_ids[cached:end])
        return Allocation(cached_tokens=cached, events=(*again, *computed))

    def extend(self, request: str, token_ids: Sequence[int]) -> tuple[Event, ...]:
        """Compute further tokens of a request: the next part of its prompt, or a token it generated.

        Raises OutOfBlocks, with nothing changed, when that needs more blocks than are free.
        """
        sequence = self._sequences[request]
        fresh = self._blocks_for(len(sequence.tokens) + len(token_ids)) - len(sequence.blocks)
        self._require(fresh, fresh)
        return self._compute(sequence, token_ids)

    def free(self, request: str) -> None:
        """Give back the blocks of a request; their content stays until the blocks are drawn again."""
        sequence = self._sequences.pop(request)
        if self._window:
            self._window.free(sequence.slots)
        for block in reversed(sequence.blocks):
            block.users -= 1
            if block.users == 0:
                self._free[block.number] = block
                self._free.move_to_end(block.number, last=block.content is not None)

    def clear(self) -> tuple[Event, ...]:
        """Forget all content. Refused, with no event, while any request uses blocks."""
        if self._sequences:
            return ()
        for block in self._free.values():
            block.content = None
        self._contents.clear()
        if self._window:
            self._window.clear()
        return (AllBlocksCleared(),)

    def table(self) -> tuple[Resident, ...]:
        """Every hash that can be found now, in the order they were first stored."""
        return tuple(
            Resident(
                hash=content.hash,
                parent=content.parent,
                token_ids=content.token_ids,
                lora=content.scope.lora_name or "",
                salt=content.scope.salt if content.parent is None else None,
                copies=len(content.copies),
            )
            for content in self._contents.values()
        )

    def _cached_prefix(self, token_ids: Sequence[int], scope: CacheScope) -> list[_Block]:
        hits: list[_Block] = []
        parent = self._root
        for position in range((len(token_ids) - 1) // self.block_size):
            parent = self._digest(parent, token_ids, position, scope)
            content = self._contents.get(parent)
            if content is None:
                break
            hits.append(next(iter(content.copies.values())))
        if self._window:
            del hits[self._window.longest([block.content.digest for block in hits if block.content]) :]
        return hits[:-1] if self._recomputes else hits

    def _digest(self, parent: bytes, token_ids: Sequence[int], position: int, scope: CacheScope) -> bytes:
        return block_digest(parent, self._tokens_at(token_ids, position), scope.extra_keys(position))

    def _tokens_at(self, token_ids: Sequence[int], position: int) -> Sequence[int]:
        return token_ids[position * self.block_size : (position + 1) * self.block_size]

    def _blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_size)

    def _require(self, blocks: int, in_window: int) -> None:
        """Raise OutOfBlocks if either group has fewer free blocks than at most needed."""
        window = self._window
        if blocks > len(self._free) or (window and in_window > window.free_blocks):
            raise OutOfBlocks(f"{blocks} blocks needed, {len(self._free)} of {self.capacity} free")

    def _compute(self, sequence: _Sequence, token_ids: Sequence[int]) -> tuple[Event, ...]:
        computed = len(sequence.tokens)
        sequence.tokens += token_ids
        blocks = self._blocks_for(len(sequence.tokens))
        events: list[Event] = []
        if self._window:
            events += self._window.advance(sequence.slots, computed, blocks)
        events += self._draw(sequence, blocks - len(sequence.blocks))
        return (*events, *self._cache_full_blocks(sequence))

    def _draw(self, sequence: _Sequence, count: int) -> list[Event]:
        events: list[Event] = []
        for _ in range(count):
            _, block = self._free.popitem(last=False)
            if block.content is not None:
                events.append(self._evict(block, block.content))
            block.users = 1
            sequence.blocks.append(block)
        return events

    def _evict(self, block: _Block, content: _Content) -> Event:
        block.content = None
        del content.copies[block.number]
        if not content.copies:
            del self._contents[content.digest]
        return BlockRemoved(block_hashes=(content.hash,), group_idx=self._group)

    def _cache_full_blocks(self, sequence: _Sequence) -> tuple[Event, ...]:
        first = len(sequence.digests)
        full = len(sequence.tokens) // self.block_size
        if first == full:
            return ()
        before = as_int(sequence.digests[-1]) if first else None
        parent = before
        stored = []
        for position in range(first, full):
            content = self._content(sequence, position, parent)
            block = sequence.blocks[position]
            block.content = content
            content.copies[block.number] = block
            sequence.digests.append(content.digest)
            stored.append(content)
            parent = content.hash
        events = self._announce(sequence.scope, before, stored)
        if self._window:
            self._window.store(sequence.slots, sequence.digests, events[-1])
        return events

    def _content(self, sequence: _Sequence, position: int, parent: int | None) -> _Content:
        chained = sequence.digests[-1] if position else self._root
        digest = self._digest(chained, sequence.tokens, position, sequence.scope)
        content = self._contents.get(digest)
        if content is None:
            content = self._contents[digest] = _Content(
                digest=digest,
                hash=as_int(digest),
                parent=parent,
                token_ids=tuple(self._tokens_at(sequence.tokens, position)),
                extra=sequence.scope.extra_keys(position),
                scope=sequence.scope,
            )
        return content

    def _announce(
        self, scope: CacheScope, parent: int | None, stored: Sequence[_Content]
    ) -> tuple[BlockStored, ...]:
        """Announce blocks in all groups, full attention last."""
        event = BlockStored(
            block_hashes=tuple(content.hash for content in stored),
            parent_block_hash=parent,
            token_ids=tuple(token for content in stored for token in content.token_ids),
            block_size=self.block_size,
            lora_id=scope.lora_id,
            lora_name=scope.lora_name,
            extra_keys=tuple(content.extra for content in stored),
            group_idx=self._group,
            spec_kind=SPEC_KIND,
        )
        return (self._window.announced(event), event) if self._window else (event,)
