"""The compiled index against Python's: whatever engines announce, both hold, refuse and answer the same."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

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
        self.is_hybrid = self.seldom(0.2)  # with groups, all of it takes Python's way

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

    def run(
        self, tokens: tuple[int, ...], first: int, last: int | None = None, lora: str | None = None
    ) -> BlockStored:
        """Blocks `first` to `last` of a prompt."""
        tokens = tokens[: SIZE * (last or len(tokens))]
        ends = range((first + 1) * SIZE, len(tokens) + 1, SIZE)
        return BlockStored(
            block_hashes=tuple(self.name(tokens[:end], lora) for end in ends),
            parent_block_hash=self.name(tokens[: first * SIZE], lora) if first else None,
            token_ids=tokens[first * SIZE :],
            block_size=SIZE,
            lora_name=lora,
            extra_keys=(None,) * len(ends) if self.rng.random() < 0.5 else None,
            group_idx=0,
            spec_kind="full_attention",
        )

    def stored(self) -> BlockStored:
        """Blocks of a prompt from its root or from somewhere behind it, at times with something unusual."""
        rng, tokens = self.rng, self.prompt()
        first = rng.randrange(len(tokens) // SIZE) if self.seldom() else 0
        event = self.run(tokens, first, lora="tuned" if self.seldom() else None)
        if not self.seldom(0.2):
            return event
        salts = tuple(rng.choice((None, ("salt",))) for _ in event.block_hashes)
        odd: tuple[dict[str, object], ...] = (
            {"extra_keys": salts},
            {"extra_keys": (None,) * (len(salts) - 1)},
            {"token_ids": (*event.token_ids, 1)},
            {"block_size": 3},
            {"lora_id": 7},
            {"medium": "CPU"},
            {"group_idx": 1 if self.is_hybrid else None},
            {"spec_kind": rng.choice(("mamba", "odd")) if self.is_hybrid else None},
        )
        return replace(event, **rng.choice(odd))  # type: ignore[arg-type]  # each of its field's type

    def step(self) -> list[Event]:
        """What happens at once: a hit that is continued, a parent that is evicted, or this and that."""
        rng, tokens = self.rng, self.prompt(9)
        if self.seldom() and len(tokens) > SIZE:
            middle = rng.randrange(1, len(tokens) // SIZE)
            before, after = self.run(tokens, 0, middle), self.run(tokens, middle)
            gone = BlockRemoved(block_hashes=before.block_hashes[-1:], group_idx=0)
            steps: tuple[list[Event], ...] = (
                [before, after],
                [gone, after],
                [before, gone, after],
                [after, before],
            )
            return rng.choice(steps)
        return [
            AllBlocksCleared()
            if self.seldom(0.01)
            else self.stored()
            if rng.random() < 0.55
            else self.removed()
            for _ in range(rng.randrange(1, 4))
        ]

    def removed(self) -> BlockRemoved:
        """Some blocks of a prompt, the last first."""
        tokens, lora = self.prompt(), "tuned" if self.seldom() else None
        ends = range(SIZE, len(tokens) + 1, SIZE)[:: self.rng.choice((1, -1))]
        hashes = tuple(self.name(tokens[:end], lora) for end in ends)[: self.rng.randrange(1, 4)]
        return BlockRemoved(
            block_hashes=hashes,
            medium="CPU" if self.seldom() else "GPU",
            group_idx=int(self.is_hybrid and self.seldom()),
            remaining_copies=(self.rng.randrange(2),) * len(hashes) if self.seldom(0.1) else None,
        )

    def payload(self) -> bytes:
        """A message of some events in one of the encodings."""
        rng = self.rng
        batch = EventBatch(ts=1.0, events=tuple(self.step()), rank=rng.choice((None, 0, 1)))
        return encode(batch, events_as=rng.choice((*Encoding,)), hash_width=rng.choice((8, 32)))


def summed(applied: Sequence[dict[str, int]]) -> Counter[str]:
    """Return what events did together."""
    return sum((Counter(each) for each in applied), Counter())


class Pair:
    """An index of each kind that learn of the same messages; `direct` counts those taken from their bytes."""

    def __init__(self, room: int, crowd: int = 0) -> None:
        self.python, self.native = (self.made(name, room) for name in ("python", "native"))
        self.direct = 0
        for number in range(crowd):  # a mask has words of 64 sources
            self.apply(Source(f"crowd-{number}", "llama"), Engine(number).payload())

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
        assert self.python.apply_payloads(source, [payload]) is None
        expected = summed(self.python.apply_batch(source, batch.events))
        taken = self.native.apply_payloads(source, [payload])
        if taken is None:
            assert summed(self.native.apply_batch(source, batch.events)) == expected
            return
        self.direct += 1
        _, rank, stored, removed, *counts = taken
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

    @initialize(room=st.sampled_from(ROOMS), crowd=st.sampled_from([0, 63, 70]))
    def begin(self, room: int, crowd: int) -> None:
        """The bound is wide or soon reached, and there are few sources or many."""
        self.pair = Pair(room, crowd)

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

    def teardown(self) -> None:
        """What is forgotten takes no memory."""
        for index in (self.pair.python, self.pair.native):
            for source in index.sources():
                index.forget(source)
            assert index.bytes_estimated == 0


TestMessages = Messages.TestCase
TestMessages.settings = settings(deadline=None, max_examples=40, stateful_step_count=12, database=None)


def test_most_messages_are_applied_from_their_bytes() -> None:
    """What is compared above is really done by both."""
    pair, engine = Pair(max(ROOMS)), Engine(0)
    for _ in range(300):
        pair.apply(SOURCES[0], engine.payload())

    assert pair.direct > 80
