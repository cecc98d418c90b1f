"""The prefix index: what events do to it, what it answers, and every defect known of its kind."""

import pickle
from dataclasses import replace

import pytest

from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, Source
from kvsync.hashing import block_hashes
from kvsync.index import Digest, PrefixIndex

pytestmark = pytest.mark.usefixtures("either_core")

POD_A = Source("a", "llama")
POD_B = Source("b", "llama")
TOKENS = tuple(range(100, 116))  # four blocks of four
OWN = block_hashes(TOKENS, 4)
ENGINE = (1001, 1002, 1003, 1004)


def make_index(**bounds: int) -> PrefixIndex:
    """Return an index of blocks of four tokens."""
    return PrefixIndex(4, **bounds)


def stored(
    first: int = 0,
    last: int = 4,
    *,
    parent: int | None = None,
    tokens: tuple[int, ...] = TOKENS,
    lora: str | None = None,
    extra: tuple[tuple[object, ...] | None, ...] | None = None,
) -> BlockStored:
    """Return the event of blocks first to last of the prompt, in engine hashes 1001 to 1004."""
    return BlockStored(
        block_hashes=ENGINE[first:last],
        parent_block_hash=ENGINE[first - 1] if parent is None and first else parent,
        token_ids=tokens[first * 4 : last * 4],
        block_size=4,
        lora_name=lora,
        extra_keys=extra,
    )


def removed(*hashes: int) -> BlockRemoved:
    """Return the event of one copy of each block evicted."""
    return BlockRemoved(block_hashes=hashes)


def test_stored_event_maps_each_of_its_blocks() -> None:
    """An event of blocks 1001 to 1003 leaves three mappings from engine hash to own hash."""
    index = make_index()

    assert index.apply(POD_A, stored(0, 3)) == {"stored": 3}
    assert index.blocks(POD_A) == {1001: ("", OWN[0]), 1002: ("", OWN[1]), 1003: ("", OWN[2])}


def test_removed_event_drops_only_the_named_block() -> None:
    """Of blocks 2001 and 2002 the second is left when 2001 was removed."""
    index = make_index()
    index.apply(POD_A, replace(stored(0, 2), block_hashes=(2001, 2002)))

    assert index.apply(POD_A, removed(2001)) == {"removed": 1}
    assert index.blocks(POD_A) == {2002: ("", OWN[1])}


def test_ten_pods_of_a_hundred_events_make_a_thousand_mappings() -> None:
    """Every pod's blocks are counted for it, also where the tokens are the same."""
    index = make_index()
    for pod in range(10):
        for i in range(100):
            event = BlockStored(
                block_hashes=(i,), parent_block_hash=None, token_ids=(i, i, i, i), block_size=4
            )
            index.apply(Source(f"pod-{pod}", "llama"), event)

    assert index.blocks_total == 1000
    assert [index.size(source) for source in index.sources()] == [100] * 10


def test_blocks_of_one_event_are_chained() -> None:
    """A prompt stored by one event is matched to its end, not to its first block."""
    index = make_index()
    index.apply(POD_A, stored())

    assert index.match("llama", "", OWN) == {"a": 4}


def test_blocks_of_two_events_are_chained() -> None:
    """An event that names a known parent continues its chain."""
    index = make_index()
    index.apply(POD_A, stored(0, 1))
    index.apply(POD_A, stored(1, 4))

    assert index.match("llama", "", OWN) == {"a": 4}


def test_block_size_is_counted_in_tokens() -> None:
    """A 64-token prompt in the default block size is four blocks, all of them matched."""
    index = PrefixIndex()
    tokens = tuple(range(64))
    index.apply(
        POD_A, BlockStored(block_hashes=ENGINE, parent_block_hash=None, token_ids=tokens, block_size=16)
    )

    assert index.match("llama", "", block_hashes(tokens, 16)) == {"a": 4}


def test_match_gives_each_pod_its_own_depth() -> None:
    """Pods with a shorter part of the prefix are credited with that part; pods without are absent."""
    index = make_index()
    index.apply(POD_A, stored(0, 4))
    index.apply(POD_B, stored(0, 2))
    index.apply(Source("c", "llama"), stored(0, 4, tokens=TOKENS[::-1]))

    assert index.match("llama", "", OWN) == {"a": 4, "b": 2}
    assert index.match("llama", "", OWN[:3]) == {"a": 3, "b": 2}
    assert index.match("llama", "", [0, *OWN]) == {}
    assert index.match("llama", "", []) == {}
    assert index.match("mistral", "", OWN) == {}


def test_match_is_limited_to_the_pods_asked_for() -> None:
    """A pod that is not ready is not proposed."""
    index = make_index()
    index.apply(POD_A, stored(0, 4))
    index.apply(POD_B, stored(0, 2))

    assert index.match("llama", "", OWN, ["b", "unknown"]) == {"b": 2}


def test_holes_end_a_match() -> None:
    """Blocks behind an evicted one do not count, until it is back."""
    index = make_index()
    index.apply(POD_A, stored())
    index.apply(POD_A, removed(1002))

    assert index.match("llama", "", OWN) == {"a": 1}
    index.apply(POD_A, stored(1, 2))
    assert index.match("llama", "", OWN) == {"a": 4}


def test_best_rank_of_a_pod_counts() -> None:
    """Data-parallel ranks are sources of their own; their depths are not added up or mixed."""
    index = make_index()
    index.apply(Source("a", "llama", 0), stored(0, 1))
    index.apply(Source("a", "llama", 1), stored(0, 3))
    index.apply(Source("b", "llama", 0), stored(0, 1))
    index.apply(Source("b", "llama", 1), stored(1, 4, parent=None))

    assert index.match("llama", "", OWN) == {"a": 3, "b": 1}


def test_removal_concerns_the_sender_only() -> None:
    """A block that two pods hold stays with the other when one evicts it."""
    index = make_index()
    index.apply(POD_A, stored())
    index.apply(POD_B, stored())
    index.apply(POD_A, removed(*ENGINE))

    assert index.match("llama", "", OWN) == {"b": 4}


def test_unknown_removal_is_counted_and_changes_nothing() -> None:
    """A removal of a block that was never announced leaves every count right."""
    index = make_index()
    index.apply(POD_A, stored())

    assert index.apply(POD_A, removed(7, 1004)) == {"unknown_removed": 1, "removed": 1}
    assert index.apply(POD_B, removed(1001)) == {"unknown_removed": 1}
    assert index.blocks_total == 3


def test_clearing_empties_exactly_one_source() -> None:
    """AllBlocksCleared drops blocks, copies and orphans of its sender alone."""
    index = make_index()
    for pod in (POD_A, POD_B):
        index.apply(pod, stored())
        index.apply(pod, stored(3, 4))
        index.apply(pod, stored(0, 1, parent=9))

    assert index.apply(POD_A, AllBlocksCleared()) == {"removed": 4}
    assert (index.size(POD_A), index.orphans(POD_A), index.digest(POD_A)) == (0, 0, Digest(0, 0))
    assert (index.size(POD_B), index.match("llama", "", OWN)) == (4, {"b": 4})
    index.apply(POD_A, stored())
    assert index.apply(POD_A, removed(1004)) == {"removed": 1}
    assert index.match("llama", "", OWN) == {"a": 3, "b": 4}


def test_forgetting_drops_a_source_and_its_bit() -> None:
    """A source that takes the place of a forgotten one does not inherit its blocks."""
    index = make_index()
    index.apply(POD_A, stored())
    index.apply(POD_B, stored(0, 2))

    assert index.forget(POD_A) == 4
    assert index.forget(POD_A) == 0
    assert index.sources() == [POD_B]
    index.apply(Source("c", "llama"), stored(0, 1))
    assert index.match("llama", "", OWN) == {"b": 2, "c": 1}
    assert index.blocks(POD_A) == {}
    assert index.digest(POD_A) == Digest(0, 0)


def test_sources_that_were_forgotten_leave_nothing_behind() -> None:
    """Pods come and go with every roll-out: neither their bits in the masks nor anything else is kept."""
    used, fresh = make_index(), make_index()
    for number in range(100):
        used.apply(Source(f"pod-{number}", "llama"), stored(1, 4, lora="tuned"))
        used.apply(Source(f"pod-{number}", "llama"), stored(0, 2))
        used.forget(Source(f"pod-{number}", "llama"))
    for index in (used, fresh):
        index.apply(POD_A, stored())

    assert pickle.dumps(used) == pickle.dumps(fresh)


@pytest.mark.parametrize(
    ("model", "lora", "expected"),
    [
        pytest.param("llama", "", {"a": 1}, id="base model"),
        pytest.param("llama", "tuned", {"a": 2}, id="adapter by name"),
        pytest.param("llama", "#3", {"a": 3}, id="adapter by number"),
        pytest.param("mistral", "", {"m": 4}, id="other model"),
        pytest.param("mistral", "tuned", {}, id="adapter of the other model"),
    ],
)
def test_models_and_adapters_are_apart(model: str, lora: str, expected: dict[str, int]) -> None:
    """The same tokens under another model or adapter are other blocks."""
    index = make_index()
    index.apply(POD_A, stored(0, 1))
    named = replace(stored(0, 2), block_hashes=(2001, 2002), lora_id=2, lora_name="tuned")
    index.apply(POD_A, named)
    index.apply(POD_A, replace(stored(0, 3), block_hashes=(3001, 3002, 3003), lora_id=3))
    index.apply(Source("m", "mistral"), stored(0, 4))

    assert index.match(model, lora, OWN) == expected


@pytest.mark.parametrize("gone", [removed(1001), AllBlocksCleared()], ids=["removed", "cleared"])
def test_adapter_of_a_block_that_is_gone_is_forgotten(gone: BlockRemoved | AllBlocksCleared) -> None:
    """An engine that names a block of the base model as one of an adapter before means the base model."""
    index = make_index()
    for event in (stored(0, 1, lora="tuned"), gone, stored(0, 1)):
        index.apply(POD_A, event)
    assert index.blocks(POD_A) == {1001: ("", OWN[0])}


def test_child_of_an_unknown_parent_is_not_a_start_of_prompts() -> None:
    """An orphan matches nothing, neither as a root nor in its place."""
    index = make_index()

    assert index.apply(POD_A, stored(2, 4)) == {"orphaned": 2}
    assert index.match("llama", "", block_hashes(TOKENS[8:], 4)) == {}
    assert index.match("llama", "", OWN) == {}
    assert (index.size(POD_A), index.orphans(POD_A)) == (0, 2)


def test_orphans_are_attached_when_their_parent_arrives() -> None:
    """Events in any order end in the same blocks."""
    index = make_index()
    index.apply(POD_A, stored(3, 4))
    index.apply(POD_A, stored(1, 3))

    assert index.apply(POD_A, stored(0, 1)) == {"stored": 1, "reattached": 3}
    assert index.match("llama", "", OWN) == {"a": 4}
    assert index.orphans(POD_A) == 0


def test_parent_of_another_pod_does_not_help() -> None:
    """A parent must be held by the same source."""
    index = make_index()
    index.apply(POD_A, stored(0, 2))

    assert index.apply(POD_B, stored(2, 4)) == {"orphaned": 2}


def test_removed_and_repeated_orphans_are_counted() -> None:
    """An orphan has copies too: it is attached with those that were not removed."""
    index = make_index()
    index.apply(POD_A, stored(1, 3))
    index.apply(POD_A, stored(1, 3))
    assert index.apply(POD_A, removed(1002, 1003, 1003)) == {"removed": 3}

    assert index.apply(POD_A, stored(0, 1)) == {"stored": 1, "reattached": 1}
    assert index.apply(POD_A, removed(1002)) == {"removed": 1}
    assert index.match("llama", "", OWN) == {"a": 1}


def test_event_with_unknown_parent_uses_the_blocks_it_repeats() -> None:
    """When a parent is gone but the event's first block is known, the rest is chained to that."""
    index = make_index()
    index.apply(POD_A, stored(0, 2))
    index.apply(POD_A, removed(1001))

    assert index.apply(POD_A, stored(1, 4)) == {"stored": 3}
    assert index.blocks(POD_A) == {1002: ("", OWN[1]), 1003: ("", OWN[2]), 1004: ("", OWN[3])}


def test_long_chain_of_orphans_is_attached_at_once() -> None:
    """A chain longer than Python's recursion limit is not a problem."""
    index = PrefixIndex(1)
    tokens = tuple(range(5000))
    index.apply(
        POD_A, BlockStored(block_hashes=tokens[1:], parent_block_hash=0, token_ids=tokens[1:], block_size=1)
    )
    index.apply(POD_A, BlockStored(block_hashes=(0,), parent_block_hash=None, token_ids=(0,), block_size=1))

    assert index.match("llama", "", block_hashes(tokens, 1)) == {"a": 5000}


def test_orphans_are_bounded() -> None:
    """Beyond the bound the oldest orphan is dropped and counted."""
    index = make_index(max_orphans_per_source=2)

    assert index.apply(POD_A, stored(1, 4)) == {"orphaned": 3, "dropped": 1}
    assert index.orphans(POD_A) == 2
    assert index.apply(POD_A, stored(0, 2)) == {"stored": 2, "reattached": 2}


def test_blocks_of_a_source_are_bounded() -> None:
    """Beyond the bound blocks are dropped and counted, for this source alone."""
    index = make_index(max_blocks_per_source=2)

    assert index.apply(POD_A, stored(0, 4)) == {"stored": 2, "dropped": 2}
    assert index.apply(POD_B, stored(0, 1)) == {"stored": 1}
    assert index.match("llama", "", OWN) == {"a": 2, "b": 1}
    index.apply(POD_A, removed(1001))
    assert index.apply(POD_A, stored(0, 1)) == {"stored": 1}


def test_orphans_beyond_the_bound_of_blocks_are_dropped() -> None:
    """Attaching respects the bound of blocks, and what waits behind a dropped block stays an orphan."""
    index = make_index(max_blocks_per_source=2)
    index.apply(POD_A, stored(1, 4))

    assert index.apply(POD_A, stored(0, 1)) == {"stored": 1, "reattached": 1, "dropped": 1}
    assert (index.size(POD_A), index.orphans(POD_A)) == (2, 1)


def test_copies_are_counted() -> None:
    """A block announced twice is held until it was removed twice."""
    index = make_index()
    index.apply(POD_A, stored(0, 2))
    assert index.apply(POD_A, stored(1, 2)) == {"stored": 1}
    assert index.size(POD_A) == 2

    index.apply(POD_A, removed(1002))
    assert index.match("llama", "", OWN) == {"a": 2}
    index.apply(POD_A, removed(1002))
    assert index.match("llama", "", OWN) == {"a": 1}


def test_two_engine_hashes_of_one_block_are_counted() -> None:
    """A block that an engine holds under two names is there until both are gone."""
    index = make_index()
    for name in (1, 2, 3):
        index.apply(POD_A, replace(stored(0, 1), block_hashes=(name,)))

    index.apply(POD_A, removed(1, 3))
    assert index.match("llama", "", OWN) == {"a": 1}
    index.apply(POD_A, removed(2))
    assert index.match("llama", "", OWN) == {}
    assert index.apply(POD_A, AllBlocksCleared()) == {"removed": 0}


def test_digest_compares_with_the_engines_table() -> None:
    """The digest counts the engine hashes held and combines them, whatever the order and copies."""
    index = make_index()
    index.apply(POD_A, stored())
    index.apply(POD_A, stored(3, 4))
    index.apply(POD_A, removed(1001))

    assert index.digest(POD_A) == Digest(3, 1002 ^ 1003 ^ 1004)


def test_seed_must_agree() -> None:
    """Hashes of another seed match nothing."""
    index = PrefixIndex(4, seed=9)
    index.apply(POD_A, stored())

    assert index.match("llama", "", OWN) == {}
    assert index.match("llama", "", block_hashes(TOKENS, 4, seed=9)) == {"a": 4}


def test_more_than_a_machine_word_of_sources() -> None:
    """A hundred sources are told apart, each with its own depth."""
    index = make_index()
    for pod in range(100):
        index.apply(Source(f"pod-{pod}", "llama"), stored(0, pod % 4 + 1))

    assert index.match("llama", "", OWN) == {f"pod-{pod}": pod % 4 + 1 for pod in range(100)}
