"""Copies: what engines say of them, and what they announce again without making any."""

from collections import Counter

import pytest

from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, Event, Source
from kvsync.index import PrefixIndex

pytestmark = pytest.mark.usefixtures("either_core")

POD = Source("a", "llama")


def stored(*hashes: int, parent: int | None = None, group: int | None = None) -> BlockStored:
    """Return the event of blocks of one token each, which is their hash."""
    return BlockStored(
        block_hashes=hashes,
        parent_block_hash=parent,
        token_ids=hashes,
        block_size=1,
        group_idx=group,
        spec_kind=None if group is None else "full_attention" if group else "mamba",
    )


def removed(*hashes: int, remaining: tuple[int, ...] | None = None) -> BlockRemoved:
    """Return the event of copies evicted."""
    return BlockRemoved(block_hashes=hashes, remaining_copies=remaining)


def apply(index: PrefixIndex, *events: Event) -> Counter[str]:
    """Apply a batch; gives what it did."""
    return sum((Counter(each) for each in index.apply_batch(POD, events)), Counter())


def held(index: PrefixIndex) -> list[int]:
    """Return the engine hashes that the index holds."""
    return sorted(index.blocks(POD))


def full_cache(*events: BlockStored) -> PrefixIndex:
    """Return an index whose engine has evicted something, after these events."""
    index = PrefixIndex()
    apply(index, *events, stored(99), removed(99))
    return index


def test_hits_announced_again_are_no_copies() -> None:
    """What a request found and then continued in the same batch, evicting nothing for it, is held once."""
    index = full_cache(stored(1, 2, 3, 4))

    assert apply(index, stored(1, 2), removed(4), stored(5, parent=2)) == {
        "reannounced": 2,
        "removed": 1,
        "stored": 1,
    }
    apply(index, removed(1, 2, 3))
    assert held(index) == [5]


def test_hits_of_a_request_of_the_same_batch_are_no_copies() -> None:
    """Blocks that came earlier in the batch are hits, too."""
    index = full_cache()
    apply(index, stored(1, 2), stored(1, 2), stored(3, parent=2))

    apply(index, removed(1, 2))
    assert held(index) == [3]


def test_a_copy_that_another_request_continues_is_a_copy() -> None:
    """What evicted blocks when it was stored was stored: reports take no room."""
    index = full_cache(stored(1, 2), stored(7, 8))

    assert apply(index, removed(7, 8), stored(1, 2), stored(3, parent=2)) == {"removed": 2, "stored": 3}
    apply(index, removed(1, 2))
    assert held(index) == [1, 2, 3]


def test_copies_in_a_cache_that_is_not_full_are_copies() -> None:
    """As long as an engine evicts nothing, copies take no room from others either."""
    index = PrefixIndex()
    apply(index, stored(1, 2))
    apply(index, stored(1, 2), stored(3, parent=2))

    apply(index, removed(1, 2))
    assert held(index) == [1, 2, 3]


def test_hits_that_nothing_continues_are_reports_of_an_engine_that_makes_some() -> None:
    """A prompt that was computed again is held twice, until its engine has proved what it announces."""
    hits = stored(1, 2, 3, 4)
    index = full_cache(hits)
    assert apply(index, hits) == {"stored": 4}
    assert apply(index, hits, stored(5, parent=4)) == {"reannounced": 4, "stored": 1}

    assert apply(index, hits) == {"reannounced": 4}
    assert apply(index, stored(1)) == {"stored": 1}, "a prompt of one block was computed again"
    assert apply(index, stored(5, parent=4)) == {"stored": 1}, "so was the last block of a longer one"
    apply(index, AllBlocksCleared())
    assert [apply(index, hits)["stored"] for _ in range(2)] == [4, 4]


def test_hits_are_reported_for_all_groups() -> None:
    """Groups that keep a part of a prompt report blocks that they do not hold: those are not added."""
    index = PrefixIndex()
    apply(index, stored(1, 2, group=0), stored(1, 2, group=1))
    apply(index, BlockRemoved(block_hashes=(1,), group_idx=0))

    applied = apply(
        index,
        stored(1, 2, group=0),
        stored(1, 2, group=1),
        stored(3, parent=2, group=0),
        stored(3, parent=2, group=1),
    )
    assert applied == {"reannounced": 4, "group_stored": 1, "stored": 1}


def test_remaining_copies_are_believed() -> None:
    """Where an engine counts its copies itself, its count replaces ours."""
    index = PrefixIndex()
    for _ in range(3):
        apply(index, stored(1))

    assert apply(index, removed(1, remaining=(2,))) == {"removed": 1}
    assert apply(index, removed(1, remaining=(0,))) == {"removed": 2}
    assert held(index) == []


def test_remaining_copies_of_orphans_and_groups_are_believed() -> None:
    """Blocks that wait for their parent, and those of other groups, follow the same count."""
    index = PrefixIndex()
    for _ in range(3):
        apply(index, stored(1, parent=9, group=1), stored(4, group=0))

    apply(index, BlockRemoved(block_hashes=(1,), group_idx=1, remaining_copies=(0,)))
    assert index.orphans(POD) == 0
    gone = BlockRemoved(block_hashes=(4,), group_idx=0, remaining_copies=(0,))
    assert apply(index, gone) == {"group_removed": 3}


def test_more_remaining_copies_than_were_announced_are_not_made_up() -> None:
    """A count that contradicts the history does not add copies, and one too short is left out."""
    index = PrefixIndex()
    apply(index, stored(1, 2))

    assert apply(index, removed(1, remaining=(7,))) == {"unknown_removed": 1}
    assert apply(index, removed(1, 2, remaining=(0,))) == {"removed": 2}
    assert held(index) == []
