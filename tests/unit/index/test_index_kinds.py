"""Blocks with extra keys, of groups of hybrid models and of other caches in the index."""

from dataclasses import replace

import pytest

from kvsync.events import BlockRemoved, BlockStored
from kvsync.hashing import block_hashes
from tests.unit.index.test_index import ENGINE, OWN, POD_A, TOKENS, make_index, stored

pytestmark = pytest.mark.usefixtures("either_core")


def test_extra_keys_tell_blocks_apart() -> None:
    """A salted prompt is matched with its salt only."""
    index = make_index()
    index.apply(POD_A, stored(extra=(("salt",), None, None, None)))

    assert index.match("llama", "", OWN) == {}
    assert index.match("llama", "", block_hashes(TOKENS, 4, extra=[("salt",)])) == {"a": 4}


def test_name_of_the_adapter_among_the_extra_keys_changes_nothing() -> None:
    """vLLM repeats the LoRA name in the extra keys; it is a context already."""
    index = make_index()
    extra = (("tuned", "salt"), ("tuned",), None, ("tuned",))
    index.apply(POD_A, stored(lora="tuned", extra=extra))

    assert index.match("llama", "tuned", block_hashes(TOKENS, 4, extra=[("salt",)])) == {"a": 4}


def test_orphans_keep_their_extra_keys() -> None:
    """A block attached later has the hash it would have had at once."""
    index = make_index()
    extra = (("image",), None, ("image", 2))
    index.apply(POD_A, stored(1, 4, extra=extra))
    index.apply(POD_A, stored(0, 1))

    assert index.match("llama", "", block_hashes(TOKENS, 4, extra=[None, *extra])) == {"a": 4}


@pytest.mark.parametrize(
    ("event", "applied"),
    [
        pytest.param(
            replace(stored(), medium="CPU"),
            {"skipped_medium": 1},
            id="other medium",
        ),
        pytest.param(
            replace(stored(), group_idx=1),
            {"skipped_group": 1},
            id="other group",
        ),
        pytest.param(
            replace(stored(), group_idx=0, spec_kind="sliding_window"),
            {"skipped_group": 1},
            id="sliding window",
        ),
        pytest.param(
            replace(stored(), group_idx=0, block_hashes=ENGINE[3:]),
            {"skipped_group": 1},
            id="sparse group without a kind",
        ),
        pytest.param(
            replace(stored(), block_size=8),
            {"skipped_block_size": 1},
            id="other block size",
        ),
        pytest.param(
            BlockStored(block_hashes=(1,), parent_block_hash=None, token_ids=(), block_size=0),
            {"skipped_hash_only": 1},
            id="placeholder",
        ),
        pytest.param(
            BlockRemoved(block_hashes=(1001,), medium="CPU"), {"skipped_medium": 1}, id="removed elsewhere"
        ),
        pytest.param(
            BlockRemoved(block_hashes=(1001,), group_idx=1), {"skipped_group": 1}, id="removed of a group"
        ),
    ],
)
def test_events_of_other_caches_are_skipped(
    event: BlockStored | BlockRemoved, applied: dict[str, int]
) -> None:
    """Only GPU blocks of the full-attention group and of this block size are indexed."""
    index = make_index()
    index.apply(POD_A, stored(0, 1))

    assert index.apply(POD_A, event) == applied
    assert index.match("llama", "", OWN) == {"a": 1}


@pytest.mark.parametrize("kind", ["full_attention", "mla_attention", "sink_full_attention", None])
def test_kinds_of_full_attention_are_indexed(kind: str | None) -> None:
    """Every kind that keeps all tokens is indexed, named or not."""
    index = make_index()
    event = replace(stored(), group_idx=0, spec_kind=kind)

    assert index.apply(POD_A, event) == {"stored": 4}
    assert index.apply(POD_A, BlockRemoved(block_hashes=(1004,), group_idx=0)) == {"removed": 1}


def test_full_attention_group_of_a_hybrid_model_is_learnt() -> None:
    """When full attention is group 1, a removal of group 0 leaves its blocks alone."""
    index = make_index()
    event = replace(stored(), group_idx=1, spec_kind="full_attention")
    index.apply(POD_A, event)

    assert index.apply(POD_A, BlockRemoved(block_hashes=(1001,), group_idx=0)) == {"skipped_group": 1}
    assert index.apply(POD_A, BlockRemoved(block_hashes=(1004,), group_idx=1)) == {"removed": 1}
    assert index.match("llama", "", OWN) == {"a": 3}


@pytest.mark.parametrize(
    ("hashes", "tokens", "matched"),
    [
        pytest.param(4, 13, 3, id="fewer tokens than hashes"),
        pytest.param(2, 16, 2, id="more tokens than hashes"),
        pytest.param(4, 15, 3, id="last block cut"),
        pytest.param(1, 3, 0, id="less than a block"),
    ],
)
def test_disagreement_of_hashes_and_tokens_is_counted(hashes: int, tokens: int, matched: int) -> None:
    """As many blocks are indexed as both hashes and tokens cover."""
    index = make_index()
    event = replace(stored(), block_hashes=ENGINE[:hashes], token_ids=TOKENS[:tokens])

    assert index.apply(POD_A, event)["mismatched"] == 1
    assert index.size(POD_A) == matched
    assert index.match("llama", "", OWN) == ({"a": matched} if matched else {})


def test_blocks_without_their_extra_keys_are_not_indexed() -> None:
    """When extra keys do not reach to the last block, what they would say of it is unknown."""
    index = make_index()

    assert index.apply(POD_A, stored(extra=(None, None))) == {"mismatched": 1, "stored": 2}
