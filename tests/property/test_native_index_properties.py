"""The compiled index against Python's: whatever engines announce, both hold, refuse and answer the same."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kvsync import core
from kvsync.codec import Encoding, decode, encode
from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, Event, EventBatch, Source
from kvsync.hashing import PromptHashes, block_hashes
from kvsync.index import PrefixIndex

pytestmark = pytest.mark.skipif(core.built is None, reason="the compiled core was not built here")

SOURCES = [Source("a", "llama", 0), Source("a", "llama", 1), Source("b", "llama"), Source("c", "mistral")]
LABELS = ("stored", "removed", "unkeyed", "unknown_removed")
ROOMS, ORPHANS, SIZE = (24, 400), 5, 2


class Engine:
    """Announces blocks of few prompts in every way that engines do, mostly in the one that is common."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def seldom(self, share: float = 0.04) -> bool:
        """Whether something unusual is to be done."""
        return self.rng.random() < share

    def prompt(self, blocks: int = 6) -> tuple[int, ...]:
        """Tokens of some blocks; many prompts begin alike."""
        return tuple(
            token
            for _ in range(self.rng.randrange(1, blocks + 1))
            for token in (self.rng.choice((0, 0, 0, 70_000)), 300)
        )

    def name(self, prefix: tuple[int, ...], lora: str | None) -> int:
        """The engine's hash of a block: also 0 and the largest are some block's, and seldom it has two."""
        number = block_hashes(prefix, len(prefix), seed=5 + self.seldom(), extra=[(lora,)] if lora else None)[
            0
        ]
        return {3: 0, 7: 2**64 - 1}.get(number % 16, number)

    def stored(self) -> BlockStored:
        """Blocks of a prompt from its root or from somewhere behind it."""
        rng, tokens = self.rng, self.prompt()
        lora = "tuned" if self.seldom() else None
        first = rng.randrange(len(tokens) // SIZE) if self.seldom(0.1) else 0
        ends = range((first + 1) * SIZE, len(tokens) + 1, SIZE)
        salt = [rng.choice((None, ("salt",))) for _ in ends] if self.seldom() else [None] * len(ends)
        return BlockStored(
            block_hashes=tuple(self.name(tokens[:end], lora) for end in ends),
            parent_block_hash=self.name(tokens[: first * SIZE], lora) if first else None,
            token_ids=tokens[first * SIZE :] + ((1,) if self.seldom() else ()),
            block_size=3 if self.seldom(0.02) else SIZE,
            lora_name=lora,
            lora_id=7 if self.seldom() else None,
            medium="CPU" if self.seldom() else "GPU",
            extra_keys=tuple(salt[: -1 if self.seldom() else None]) if rng.random() < 0.5 else None,
            group_idx=rng.choice((None, 0, 0, 0, 1)) if self.seldom() else 0,
            spec_kind=rng.choice(("full_attention", "mamba", "odd", None))
            if self.seldom()
            else "full_attention",
        )

    def removed(self) -> BlockRemoved:
        """Some blocks of a prompt, the last first."""
        tokens, lora = self.prompt(), "tuned" if self.seldom() else None
        ends = range(SIZE, len(tokens) + 1, SIZE)[:: self.rng.choice((1, -1))]
        hashes = tuple(self.name(tokens[:end], lora) for end in ends)[: self.rng.randrange(1, 4)]
        return BlockRemoved(
            block_hashes=hashes,
            medium="CPU" if self.seldom() else "GPU",
            group_idx=1 if self.seldom(0.02) else 0,
            remaining_copies=(1,) * len(hashes) if self.seldom(0.02) else None,
        )

    def payload(self) -> bytes:
        """A message of some events in one of the encodings."""
        rng = self.rng
        events: list[Event] = [
            AllBlocksCleared()
            if self.seldom(0.01)
            else self.stored()
            if rng.random() < 0.55
            else self.removed()
            for _ in range(rng.randrange(1, 4))
        ]
        batch = EventBatch(ts=1.0, events=tuple(events), rank=rng.choice((None, 0, 1)))
        return encode(batch, events_as=rng.choice((*Encoding,)), hash_width=rng.choice((8, 32)))


def summed(applied: Sequence[dict[str, int]]) -> Counter[str]:
    """Return what events did together."""
    return sum((Counter(each) for each in applied), Counter())


class Pair:
    """An index of each kind that learn of the same messages; `direct` counts those taken from their bytes."""

    def __init__(self, room: int) -> None:
        self.python, self.native = (self.made(name, room) for name in ("python", "native"))
        self.direct = 0

    @staticmethod
    def made(name: str, room: int) -> PrefixIndex:
        """Return an empty index of one implementation."""
        core.choose(name)
        try:
            return PrefixIndex(max_blocks_per_source=room, max_orphans_per_source=ORPHANS)
        finally:
            core.choose("auto")

    def apply(self, source: Source, payload: bytes) -> None:
        """Let both take a message; each event and block must count alike."""
        batch = decode(payload)
        assert self.python.apply_payload(source, payload) is None
        expected = summed(self.python.apply_batch(source, batch.events))
        taken = self.native.apply_payload(source, payload)
        if taken is None:
            assert summed(self.native.apply_batch(source, batch.events)) == expected
            return
        self.direct += 1
        rank, stored, removed, *counts = taken
        kinds = [type(event) for event in batch.events]
        assert (rank, stored, removed) == (batch.rank, kinds.count(BlockStored), kinds.count(BlockRemoved))
        assert Counter(dict(zip(LABELS, counts, strict=True))) == expected

    def check(self, source: Source) -> None:
        """All that is known of a source is the same, and both bits and tables hold together."""
        python, native = self.python, self.native
        assert native.held(source) == python.held(source)
        assert native.blocks(source) == python.blocks(source)
        assert native.tables(source) == python.tables(source)
        assert native.digest(source) == python.digest(source)
        assert native.block_size_of(source) == python.block_size_of(source)

    def ask(self, engine: Engine) -> None:
        """Both answer the same for a prompt, however it is asked."""
        tokens, model, lora = engine.prompt(9), engine.rng.choice(("llama", "mistral")), ""
        if engine.seldom(0.2):
            lora = engine.rng.choice(("tuned", "#7"))
        extra = [("salt",)] if engine.seldom(0.2) else None
        keyed = engine.rng.choice((None, None, True, False))
        for made in (block_hashes, PromptHashes):
            python, native = (
                index.match_sources(
                    model, lora, made(tokens, SIZE, extra=extra), block_size=SIZE, keyed=keyed
                )
                for index in (self.python, self.native)
            )
            assert native == python


class Messages(RuleBasedStateMachine):
    """Messages, questions, and sources that are forgotten or moved to another index, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(max(ROOMS))

    @initialize(room=st.sampled_from(ROOMS))
    def begin(self, room: int) -> None:
        """The bound is wide or soon reached."""
        self.pair = Pair(room)

    @rule(seed=st.integers(0, 2**64 - 1), source=st.sampled_from(SOURCES))
    def send(self, seed: int, source: Source) -> None:
        """A source announces something, a few messages in a row."""
        engine = Engine(seed)
        for _ in range(6):
            self.pair.apply(source, engine.payload())
            self.pair.ask(engine)
        self.pair.check(source)

    @rule(source=st.sampled_from(SOURCES))
    def forget(self, source: Source) -> None:
        """A source is gone."""
        assert self.pair.native.forget(source) == self.pair.python.forget(source)

    @rule(source=st.sampled_from(SOURCES))
    def restore(self, source: Source) -> None:
        """What was held of a source comes back from a snapshot."""
        held = self.pair.python.held(source)
        if held is not None:
            for index in (self.pair.python, self.pair.native):
                index.restore(source, held)

    @invariant()
    def agree(self) -> None:
        """What is known of all together is the same."""
        python, native = self.pair.python, self.pair.native
        assert native.sources() == python.sources()
        assert (native.blocks_total, native.has_groups) == (python.blocks_total, python.has_groups)
        assert native.block_sizes("llama") == python.block_sizes("llama")
        assert native.lora_ids(*SOURCES) == python.lora_ids(*SOURCES)


TestMessages = Messages.TestCase
TestMessages.settings = settings(deadline=None, max_examples=40, stateful_step_count=12, database=None)


def test_most_messages_are_applied_from_their_bytes() -> None:
    """What is compared above is really done by both."""
    pair, engine = Pair(max(ROOMS)), Engine(1)
    for _ in range(300):
        pair.apply(SOURCES[0], engine.payload())

    assert pair.direct > 60
