"""Whatever requests come and go, the block cache agrees with a model that only reads its events."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, Event
from kvsync.simulator.blocks import BlockCache, CacheScope, OutOfBlocks

BLOCK = 2
Content = tuple[CacheScope, tuple[int, ...]]
"""What a block stands for: the scope and every token from the root to its end."""

# Two tokens and few scopes, so that prefixes are shared, diverge and come back.
PROMPTS = st.lists(st.integers(0, 1), min_size=1, max_size=14)
SCOPES = st.sampled_from([CacheScope(), CacheScope(lora_name="sql", lora_id=1), CacheScope(salt="tenant")])


class CacheMachine(RuleBasedStateMachine):
    """Drives a cache and its twin, replaying their events into a counter of resident contents."""

    requests = Bundle("requests")

    @initialize(capacity=st.integers(1, 10), seed=st.integers(0, 3))
    def start(self, capacity: int, seed: int) -> None:
        """An empty cache, and a second one that must behave the same."""
        self.cache, self.twin = (BlockCache(capacity, BLOCK, seed) for _ in range(2))
        self.resident: Counter[Content] = Counter()
        self.contents: dict[int, Content] = {}
        self.running: dict[str, tuple[CacheScope, list[int]]] = {}
        self.started = 0

    @rule(target=requests, prompt=PROMPTS, scope=SCOPES, budget=st.none() | st.integers(1, 6))
    def allocate(self, prompt: list[int], scope: CacheScope, budget: int | None) -> object:
        """A new request reuses exactly the resident contiguous prefix, without its last token."""
        self.started += 1
        name = f"r{self.started}"
        expected = BLOCK * self.resident_prefix(scope, prompt)
        before = self.cache.table()
        try:
            got = self.cache.allocate(name, prompt, scope, budget)
        except OutOfBlocks:
            assert self.cache.table() == before
            with pytest.raises(OutOfBlocks):
                self.twin.allocate(name, prompt, scope, budget)
            return multiple()
        assert self.twin.allocate(name, prompt, scope, budget) == got
        assert got.cached_tokens == expected
        end = len(prompt) if budget is None else got.cached_tokens + budget
        self.running[name] = (scope, prompt[:end])
        self.replay(got.events, scope)
        return name

    @rule(name=requests, tokens=st.lists(st.integers(0, 1), min_size=1, max_size=5))
    def extend(self, name: str, tokens: list[int]) -> None:
        """Further tokens fill blocks behind the request's own."""
        scope, computed = self.running[name]
        try:
            events = self.cache.extend(name, tokens)
        except OutOfBlocks:
            with pytest.raises(OutOfBlocks):
                self.twin.extend(name, tokens)
            return
        assert self.twin.extend(name, tokens) == events
        computed += tokens
        self.replay(events, scope)

    @rule(name=consumes(requests))
    def free(self, name: str) -> None:
        """Ending a request removes nothing."""
        self.cache.free(name)
        self.twin.free(name)
        del self.running[name]

    @rule()
    def clear(self) -> None:
        """Clearing works exactly when nothing runs."""
        events = self.cache.clear()
        assert events == self.twin.clear() == (() if self.running else (AllBlocksCleared(),))
        if events:
            self.resident.clear()

    @invariant()
    def table_is_what_the_events_say(self) -> None:
        """The table holds the replayed contents, with their copies, parents and tokens."""
        table = {
            self.contents[one.hash]: (one.copies, one.parent, one.token_ids) for one in self.cache.table()
        }
        hashes = {content: value for value, content in self.contents.items()}
        assert table == {
            (scope, prefix): (copies, hashes.get((scope, prefix[:-BLOCK])), prefix[-BLOCK:])
            for (scope, prefix), copies in self.resident.items()
        }

    @invariant()
    def blocks_are_neither_made_nor_lost(self) -> None:
        """Physical copies and blocks in use never exceed the capacity; idle, every block is free."""
        assert self.resident.total() <= self.cache.capacity
        assert 0 <= self.cache.free_blocks <= self.cache.capacity
        longest = max((len(tokens) for _, tokens in self.running.values()), default=0)
        assert self.cache.capacity - self.cache.free_blocks >= -(-longest // BLOCK)

    @invariant()
    @precondition(lambda self: not self.running)
    def idle_cache_is_free(self) -> None:
        """When nothing runs, no block is in use."""
        assert self.cache.free_blocks == self.cache.capacity

    @invariant()
    def running_requests_keep_their_blocks(self) -> None:
        """No block of a running request is ever removed."""
        for scope, tokens in self.running.values():
            for end in range(BLOCK, len(tokens) + 1, BLOCK):
                assert self.resident[scope, tuple(tokens[:end])] > 0

    def resident_prefix(self, scope: CacheScope, prompt: list[int]) -> int:
        """Blocks from the root up to the first that is not resident, never the one with the last token."""
        blocks = 0
        while (blocks + 1) * BLOCK < len(prompt):
            if not self.resident[scope, tuple(prompt[: (blocks + 1) * BLOCK])]:
                break
            blocks += 1
        return blocks

    def replay(self, events: tuple[Event, ...], scope: CacheScope) -> None:
        """Read the events as a subscriber would; a parent must be resident when its child is stored."""
        for event in events:
            match event:
                case BlockStored():
                    self.store(event, scope)
                case BlockRemoved(block_hashes=(value,)):
                    content = self.contents[value]
                    assert self.resident[content] > 0
                    self.resident -= Counter([content])
                case _:
                    pytest.fail(f"unexpected {event}")

    def store(self, event: BlockStored, scope: CacheScope) -> None:
        """Count one copy of each block, chained behind the announced parent."""
        prefix: tuple[int, ...] = ()
        if event.parent_block_hash is not None:
            parent = self.contents[event.parent_block_hash]
            assert parent[0] == scope
            assert self.resident[parent] > 0
            prefix = parent[1]
        assert len(event.token_ids) == len(event.block_hashes) * BLOCK
        for position, value in enumerate(event.block_hashes):
            prefix += event.token_ids[position * BLOCK : (position + 1) * BLOCK]
            assert self.contents.setdefault(value, (scope, prefix)) == (scope, prefix)
            self.resident[scope, prefix] += 1


TestBlockCache = CacheMachine.TestCase
TestBlockCache.settings = settings(max_examples=60, stateful_step_count=30, deadline=None, database=None)
