"""The index against a naive model that keeps every source's blocks as plain lists of token prefixes."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, Source
from kvsync.hashing import block_hashes
from kvsync.index import Held, PrefixIndex
from kvsync.sequence import Memory
from kvsync.snapshots.coding import decode, encode
from kvsync.snapshots.snapshot import SourceSnapshot

SIZE = 2
SOURCES = [
    Source("a", "llama", 0),
    Source("a", "llama", 1),
    Source("b", "llama", 0),
    Source("c", "mistral", 0),
]
LORAS = ["", "tuned"]

Prefix = tuple[int, ...]
"""A block, named by all tokens from the start of its prompt to its own end."""


def engine_hash(lora: str, prefix: Prefix) -> int:
    """Return what the model's engines call a block: a number that tells nothing of its tokens."""
    number = LORAS.index(lora) + 1
    for token in prefix:
        number = number * 7 + token + 1
    return number


@dataclass
class Model:
    """What the sources hold, as copies of (LoRA, prefix); blocks whose parent was unknown count as held."""

    held: dict[Source, Counter[tuple[str, Prefix]]] = field(
        default_factory=lambda: {source: Counter() for source in SOURCES}
    )

    def match(self, model: str, lora: str, tokens: Prefix) -> dict[str, int]:
        """Return each pod's longest prefix, found by asking for every block in turn."""
        best: dict[str, int] = {}
        for source, held in self.held.items():
            depth = 0
            while (depth + 1) * SIZE <= len(tokens) and held[lora, tokens[: (depth + 1) * SIZE]]:
                depth += 1
            if depth and source.model == model:
                best[source.pod] = max(depth, best.get(source.pod, 0))
        return best


def stored(lora: str, tokens: Prefix, first: int) -> BlockStored:
    """Return the event of the blocks of a prompt from `first` on."""
    ends = range((first + 1) * SIZE, len(tokens) + 1, SIZE)
    return BlockStored(
        block_hashes=tuple(engine_hash(lora, tokens[:end]) for end in ends),
        parent_block_hash=engine_hash(lora, tokens[: first * SIZE]) if first else None,
        token_ids=tokens[first * SIZE :],
        block_size=SIZE,
        lora_name=lora or None,
    )


blocks = st.lists(st.integers(0, 1), min_size=1, max_size=5)
prompts = blocks.map(lambda numbers: tuple(token for n in numbers for token in (n, 0)))
sources = st.sampled_from(SOURCES)
loras = st.sampled_from(LORAS)
actions = st.one_of(
    st.tuples(st.just("store"), sources, loras, prompts, st.integers(0, 4)),
    st.tuples(st.just("store"), sources, loras, prompts, st.just(0)),
    st.tuples(st.just("remove"), sources, loras, prompts, st.just(0)),
    st.tuples(st.sampled_from(["clear", "forget"]), sources, st.just(""), st.just((0, 0)), st.just(0)),
)
scripts = st.lists(actions, max_size=25)
Action = tuple[str, Source, str, Prefix, int]


def play(script: list[Action], index: PrefixIndex | None = None) -> tuple[PrefixIndex, Model]:
    """Let the same things happen to an index, by default a new one, and to a model."""
    index, model = index or PrefixIndex(SIZE), Model()
    for verb, source, lora, tokens, first in script:
        held = model.held[source]
        match verb:
            case "store" if first * SIZE < len(tokens):
                index.apply(source, stored(lora, tokens, first))
                held.update((lora, tokens[:end]) for end in range((first + 1) * SIZE, len(tokens) + 1, SIZE))
            case "remove":
                index.apply(source, BlockRemoved(block_hashes=(engine_hash(lora, tokens),)))
                held[lora, tokens] = max(0, held[lora, tokens] - 1)
            case "clear":
                index.apply(source, AllBlocksCleared())
                held.clear()
            case "forget":
                index.forget(source)
                held.clear()
    return index, model


@settings(deadline=None, max_examples=120, database=None)
@given(script=scripts, lora=loras, tokens=prompts, name=st.sampled_from(["llama", "mistral"]))
def test_match_is_what_a_naive_search_finds(
    script: list[Action], lora: str, tokens: Prefix, name: str
) -> None:
    """Whatever happened in whatever order, a match is the longest prefix that the model holds."""
    index, model = play(script)

    assert index.match(name, lora, block_hashes(tokens, SIZE)) == model.match(name, lora, tokens)


@settings(deadline=None, max_examples=60, database=None)
@given(script=scripts)
def test_every_block_held_is_indexed_or_waits_for_its_parent(script: list[Action]) -> None:
    """No block is lost and none is made up; own hashes are those of the tokens."""
    index, model = play(script)

    for source, held in model.held.items():
        owns = {engine_hash(*block): (block[0], block_hashes(block[1], SIZE)[-1]) for block in +held}
        assert index.size(source) + index.orphans(source) == len(owns)
        assert index.blocks(source).items() <= owns.items()


@settings(deadline=None, max_examples=40, database=None)
@given(script=scripts)
def test_emptied_index_keeps_nothing(script: list[Action]) -> None:
    """When every copy was removed, nothing is left to match, to count or to wait."""
    index, model = play(script)
    for source, held in model.held.items():
        hashes = tuple(engine_hash(*block) for block in held.elements())
        index.apply(source, BlockRemoved(block_hashes=hashes))

    assert index.blocks_total == 0
    for source in SOURCES:
        assert (index.orphans(source), index.digest(source).xor) == (0, 0)
        assert all(not index.match(source.model, lora, block_hashes((0, 0), SIZE)) for lora in LORAS)


@settings(deadline=None, max_examples=100, database=None)
@given(before=scripts, after=scripts, lora=loras, tokens=prompts)
def test_what_was_held_goes_on_in_another_index(
    before: list[Action], after: list[Action], lora: str, tokens: Prefix
) -> None:
    """A source taken out, written, read and put into another index behaves as if it had never left."""
    stayed, _ = play(before)
    other = PrefixIndex(SIZE)
    for source in reversed(stayed.sources()):
        held = stayed.held(source)
        assert held is not None
        other.restore(source, decode(encode(snapshot_of(source, held))).held)
    for index in (stayed, other):
        play(after, index)

    hashes = block_hashes(tokens, SIZE)
    for model in ("llama", "mistral"):
        assert other.match(model, lora, hashes) == stayed.match(model, lora, hashes)
        assert other.block_sizes(model) == stayed.block_sizes(model)
    for source in SOURCES:
        assert other.tables(source) == stayed.tables(source)
        assert other.digest(source) == stayed.digest(source)
        assert (other.orphans(source), other.blocks(source)) == (
            stayed.orphans(source),
            stayed.blocks(source),
        )


def snapshot_of(source: Source, held: Held) -> SourceSnapshot:
    """Return a snapshot of which nothing matters but what it holds."""
    return SourceSnapshot(
        source=source,
        endpoint="",
        replay_endpoint=None,
        made_at=0.0,
        hash_seed=0,
        memory=Memory(last=0, digests=(0,)),
        left_out=(),
        held=held,
    )
