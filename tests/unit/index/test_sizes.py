"""Blocks of several sizes in one index, each source in the size of its own engine."""

from dataclasses import replace

import pytest

from kvsync.codec import encode
from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, EventBatch, Source
from kvsync.hashing import block_hashes
from kvsync.index import Match, PrefixIndex, Prompt, best_ranks, lookup

pytestmark = pytest.mark.usefixtures("either_core")

TOKENS = tuple(range(64))
SMALL, LARGE, SINGLE = (Source(pod, "llama") for pod in ("small", "large", "single"))


def stored(block_size: int, blocks: int, **fields: object) -> BlockStored:
    """Return the event of a prompt's first blocks."""
    event = BlockStored(
        block_hashes=tuple(range(1, blocks + 1)),
        parent_block_hash=None,
        token_ids=TOKENS[: blocks * block_size],
        block_size=block_size,
    )
    return replace(event, **fields)  # type: ignore[arg-type]  # checked when it is applied


def test_pods_of_different_sizes_serve_one_model() -> None:
    """Each pod is matched in blocks of its own size, and all are compared in tokens."""
    index = PrefixIndex()
    for source, size, blocks in ((SMALL, 16, 3), (LARGE, 32, 2), (SINGLE, 1, 20)):
        index.apply(source, stored(size, blocks))

    assert index.block_sizes("llama") == [1, 16, 32]
    assert lookup(index, Prompt(model="llama", tokens=TOKENS)) == {
        SMALL: Match(blocks=3, block_size=16, cached_tokens=48),
        LARGE: Match(blocks=2, block_size=32, cached_tokens=32),
        SINGLE: Match(blocks=20, block_size=1, cached_tokens=20),
    }


def test_a_size_counts_while_a_source_has_it() -> None:
    """A prompt is hashed for the sizes that are in use, not for those of pods that are gone."""
    index = PrefixIndex()
    index.apply(SMALL, stored(16, 1))
    index.apply(Source("other", "mistral"), stored(8, 1))
    index.forget(SMALL)

    assert (index.block_sizes("llama"), index.block_sizes("mistral")) == ([], [8])


def test_best_rank_of_a_pod_counts_whatever_its_size() -> None:
    """Of two ranks with different blocks, the one that holds more tokens is the pod's."""
    index = PrefixIndex()
    index.apply(Source("a", "llama", 0), stored(16, 2))
    index.apply(Source("a", "llama", 1), stored(4, 9))

    found = lookup(index, Prompt(model="llama", tokens=TOKENS))
    assert best_ranks(found) == {"a": Match(blocks=9, block_size=4, cached_tokens=36)}


def test_a_source_has_one_size_as_long_as_it_holds_blocks() -> None:
    """Blocks of a second size are counted and left out; an empty source may begin again."""
    index = PrefixIndex()
    index.apply(SMALL, stored(16, 2))

    assert index.apply(SMALL, stored(8, 1)) == {"skipped_block_size": 1}
    index.apply(SMALL, AllBlocksCleared())
    assert index.apply(SMALL, stored(8, 1)) == {"stored": 1}
    assert index.block_size_of(SMALL) == 8


def test_the_size_that_is_announced_is_told() -> None:
    """Not the one that was configured, for which its blocks are left out; before any event 0."""
    index = PrefixIndex(16)
    index.apply(SMALL, AllBlocksCleared())
    before = index.block_size_of(SMALL)

    assert index.apply(SMALL, stored(8, 1)) == {"skipped_block_size": 1}
    assert (before, index.block_size_of(SMALL)) == (0, 8)


def test_orphans_keep_the_size() -> None:
    """Blocks that wait for their parent are of the source's size, too."""
    index = PrefixIndex()
    index.apply(SMALL, stored(16, 1, parent_block_hash=9))

    assert index.apply(SMALL, stored(8, 1)) == {"skipped_block_size": 1}


def test_a_given_size_is_checked() -> None:
    """With a configured size, events of another one are refused."""
    index = PrefixIndex(32)

    assert index.apply(SMALL, stored(16, 2)) == {"skipped_block_size": 1}
    assert index.apply(SMALL, stored(32, 2)) == {"stored": 2}


def test_short_blocks_with_a_salt_are_not_long_blocks() -> None:
    """A salt whose bytes are those of further tokens does not make a block of a larger size."""
    salt = "".join(map(chr, (1, 0, 2, 0, 3, 0, 0)))  # msgpack writes 9 bytes, which 2.25 tokens have
    index = PrefixIndex()
    index.apply(SMALL, stored(16, 1, extra_keys=((salt,),)))
    (own,) = (own for _, own in index.blocks(SMALL).values())

    assert index.match("llama", "", [own], block_size=16) == {"small": 1}
    assert index.match("llama", "", [own], block_size=18) == {}


@pytest.mark.parametrize(
    ("announced", "salt", "matched"),
    [
        pytest.param((("s",), None), "s", 2, id="salt-announced"),
        pytest.param((("s",), None), "t", 0, id="another"),
        pytest.param((("s",), None), None, 0, id="none-asked-for"),
        pytest.param((None, None), "s", 0, id="keys-announced-without-a-salt"),
        pytest.param(None, "s", 2, id="engine-that-announces-no-keys"),
        pytest.param(None, None, 2, id="no-keys-no-salt"),
    ],
)
def test_salts_count_where_they_are_announced(
    announced: tuple[tuple[str] | None, None] | None, salt: str | None, matched: int
) -> None:
    """Engines before vLLM 0.17 do not say what they salted: there, tokens alone decide."""
    index = PrefixIndex()
    index.apply(SMALL, stored(16, 2, extra_keys=announced))

    found = lookup(index, Prompt(model="llama", tokens=TOKENS, salt=salt))
    assert {source: match.blocks for source, match in found.items()} == ({SMALL: matched} if matched else {})


def test_what_was_not_announced_shows() -> None:
    """The same tokens under two engine hashes differ in something else: that is counted."""
    index = PrefixIndex()
    index.apply(SMALL, stored(16, 2))

    assert index.apply(SMALL, stored(16, 2, block_hashes=(8, 9))) == {"unkeyed": 2, "stored": 2}


def test_sizes_of_a_model_are_bounded() -> None:
    """Engines that each have another size cannot make every prompt be hashed without end."""
    index = PrefixIndex()
    applied = [index.apply(Source(f"pod-{size}", "llama"), stored(size, 1)) for size in range(1, 11)]

    assert applied == [{"stored": 1}] * 8 + [{"skipped_block_size": 1}] * 2
    assert index.apply(Source("late", "llama"), stored(8, 1)) == {"stored": 1}
    assert index.apply(Source("late", "mistral"), stored(10, 1)) == {"stored": 1}


def test_page_size_one() -> None:
    """SGLang's pages of one token are blocks like others."""
    index = PrefixIndex()
    index.apply(SINGLE, stored(1, 10))
    index.apply(SINGLE, stored(1, 64, parent_block_hash=10, block_hashes=tuple(range(11, 75))))

    hashes = block_hashes((*TOKENS[:10], *TOKENS), 1)
    assert index.match("llama", "", hashes, block_size=1) == {"single": 74}


def test_sizes_that_a_source_had_leave_nothing_behind() -> None:
    """An engine that goes through many block sizes, each with its blocks removed again, takes no memory."""
    index = PrefixIndex()
    for size in range(1, 9):
        for event in (stored(size, 1), stored(size, 1), BlockRemoved(block_hashes=(1, 1))):
            payload = encode(EventBatch(ts=0.0, events=(event,)))
            assert index.apply_payloads(SMALL, [payload]) or index.apply(SMALL, event)
    index.forget(SMALL)

    assert index.bytes_estimated == 0
