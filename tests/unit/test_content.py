"""What keeps a source from being EXACT although every batch arrived, and when it ends."""

import pytest

from kvsync.events import GPU, AllBlocksCleared, BlockRemoved, BlockStored, Event, Source
from kvsync.index import PrefixIndex
from kvsync.sources.content import Content

SOURCE = Source("pod", "model", 1)


def stored(*hashes: int, size: int = 2, medium: str = GPU, tokens: int | None = None) -> BlockStored:
    """Blocks from the root."""
    return BlockStored(
        block_hashes=hashes,
        parent_block_hash=None,
        token_ids=tuple(range(len(hashes) * size if tokens is None else tokens)),
        block_size=size,
        medium=medium,
    )


def removed(*hashes: int, medium: str = GPU) -> BlockRemoved:
    """The same blocks, gone."""
    return BlockRemoved(block_hashes=hashes, medium=medium)


def after(*events: Event, bound: int = 2) -> Content:
    """What is said of a source whose events an index of two-token blocks was given."""
    content, index = Content(), PrefixIndex(2, max_blocks_per_source=bound)
    for event in events:
        content.applied(event, index.apply(SOURCE, event))
    return content


@pytest.mark.parametrize(
    ("events", "reason", "left_out"),
    [
        ([stored(1, 2)], "", {}),
        ([stored(1, 2, medium="CPU")], "blocks in CPU are left out", {"skipped_medium": 2}),
        ([stored(1, 2, 3)], "blocks beyond what the index keeps", {"dropped": 1}),
        ([stored(1, tokens=4)], "tokens and hashes of an event disagree", {"mismatched": 1}),
        ([stored(1, tokens=0)], "blocks without tokens are left out", {"skipped_hash_only": 1}),
    ],
    ids=["all held", "medium", "bound", "mismatch", "hashes only"],
)
def test_what_is_left_out_is_a_reason(events: list[Event], reason: str, left_out: dict[str, int]) -> None:
    """Each cause has its text, and none has none."""
    content = after(*events)

    assert (content.flaw[: len(reason)], bool(content.flaw), content.left_out) == (
        reason,
        bool(reason),
        left_out,
    )


@pytest.mark.parametrize(
    ("events", "left"),
    [
        ([stored(1, 2, 3), removed(3)], set()),
        ([stored(1, 2, 3), removed(1)], {"dropped"}),
        ([stored(1, 2, 3), AllBlocksCleared()], set()),
        ([stored(1, medium="CPU"), removed(1)], {"skipped_medium"}),
        ([stored(1, medium="CPU"), AllBlocksCleared()], {"skipped_medium"}),
        ([stored(1, 2, medium="CPU"), removed(2, medium="CPU")], {"skipped_medium"}),
        ([stored(1, 2, medium="CPU"), removed(2, 1, medium="CPU")], set()),
        ([stored(1, medium="CPU"), stored(1, medium="DISK"), removed(1, medium="CPU")], {"skipped_medium"}),
        ([stored(1, tokens=4), removed(1), removed(1)], {"mismatched"}),
        ([stored(1, tokens=4), AllBlocksCleared()], set()),
    ],
)
def test_a_reason_ends_with_the_blocks_it_is_about(events: list[Event], left: set[str]) -> None:
    """It is said as long as the engine holds something that the index does not, and no longer."""
    content = after(*events)

    assert content.left_out.keys() == left
    assert bool(content.flaw) is bool(left)


def test_media_without_end_are_not_told_apart() -> None:
    """A peer that names another medium in each event takes neither memory nor room in the log."""
    content = after(*(stored(1, medium=f"medium {number}" * 100) for number in range(1000)))

    assert content.left_out == {"skipped_medium": 1000}
    assert len(content.flaw) < 2000


def test_an_effect_that_is_new_is_a_reason_too() -> None:
    """What the index may count one day is not taken for complete."""
    content = Content()
    content.applied(stored(1), {"skipped_adapter_id": 1})

    assert content.flaw == "blocks are left out: adapter id"


@pytest.mark.parametrize(("said", "wrong"), [(None, False), (1, False), (0, True)])
def test_a_publisher_of_another_rank_is_named(said: int | None, wrong: bool) -> None:
    """A batch that names a rank must name the one that was asked; the next that does ends the reason."""
    content = Content()
    content.announced(SOURCE, said)
    assert ("says that it is rank 0, not 1" in content.flaw) is wrong

    content.announced(SOURCE, 1)
    assert content.flaw == ""
