"""Messages straight from their bytes, where that is easily wrong; what is common is in the property tests."""

from dataclasses import replace

import pytest

from kvsync import core
from kvsync.codec import LIMITS, Encoding, decode, encode
from kvsync.events import BlockRemoved, BlockStored, Event, EventBatch, Source
from kvsync.hashing import block_hashes
from kvsync.index import PrefixIndex

pytestmark = pytest.mark.usefixtures("either_core")

POD = Source("a", "llama")
STORED = BlockStored(
    block_hashes=(11, 12), parent_block_hash=None, token_ids=(1, 2, 3, 4), block_size=2, group_idx=0
)
OWN = block_hashes(STORED.token_ids, 2)


def give(index: PrefixIndex, *events: Event) -> None:
    """Apply a message in one way or the other."""
    payload = encode(EventBatch(ts=0.0, events=events), events_as=Encoding.MAP)
    if index.apply_payloads(POD, [payload]) is None:
        index.apply_batch(POD, decode(payload).events)


def test_blocks_that_come_after_the_last_one_went_are_found() -> None:
    """What is emptied in Python's way (here: the engine counts copies) is not written to any more."""
    index = PrefixIndex()
    give(index, STORED)
    give(index, BlockRemoved(block_hashes=(11, 12), remaining_copies=(0, 0)))
    assert index.match("llama", "", OWN, block_size=2) == {}
    give(index, STORED)

    assert index.match("llama", "", OWN, block_size=2) == {"a": 2}


def test_what_two_sources_leave_to_each_other_is_found() -> None:
    """A source writes to the context that there is now, not to the one that it knew."""
    index, other = PrefixIndex(), Source("b", "llama")
    give(index, STORED)
    give(index, BlockRemoved(block_hashes=(11, 12), remaining_copies=(0, 0)))
    index.apply(other, STORED)
    give(index, replace(STORED, block_hashes=(21, 22)))

    assert index.match("llama", "", OWN, block_size=2) == {"a": 2, "b": 2}


@pytest.mark.parametrize("size", [1, 3, 16, 1000, 5000])
def test_prompts_are_walked_in_blocks_of_any_size(size: int) -> None:
    """A prompt as a list is found however many of its tokens are looked at at once."""
    index, tokens = PrefixIndex(), tuple(range(2 * size))
    give(index, replace(STORED, token_ids=tokens, block_size=size))

    assert index.match("llama", "", block_hashes(tokens, size), block_size=size) == {"a": 2}


def test_a_message_beyond_the_limits_is_not_taken() -> None:
    """The codec's limits hold for both ways: no message that it refuses is applied."""
    index = PrefixIndex()
    give(index, STORED)
    for batch in (
        [STORED] * (LIMITS.events + 1),
        [replace(STORED, block_hashes=(1,) * (LIMITS.hashes + 1), token_ids=())],
    ):
        assert index.apply_payloads(POD, [encode(EventBatch(ts=0.0, events=tuple(batch)))]) is None


def test_what_a_long_prompt_evicts_is_taken() -> None:
    """A thousand blocks with an event each, as engines announce them, are applied by the compiled core."""
    index, hashes = PrefixIndex(), tuple(range(100, 1100))
    give(index, replace(STORED, block_hashes=hashes, token_ids=tuple(range(2000)), group_idx=None))
    gone = tuple(BlockRemoved(block_hashes=(each,)) for each in hashes)

    taken = index.apply_payloads(POD, [encode(EventBatch(ts=0.0, events=gone))])

    assert (taken is None) is (core.compiled is None)
    assert index.size(POD) == (0 if taken else 1000)
