"""What is made to measure with: the same for one seed, and like what engines send."""

import random

import pytest

from kvsync.codec import Encoding, decode
from kvsync.events import BlockRemoved, Event
from kvsync.testing.benchmarks.workload import BLOCK_SIZE, encoded, prompts, removed, stored

PROMPT = tuple(range(100_000, 100_040))


def test_one_seed_gives_the_same_prompts() -> None:
    """Prompts follow from the seed, have lengths of the range and differ from each other."""
    made = prompts(random.Random(7), 20, range(50, 150))

    assert made == prompts(random.Random(7), 20, range(50, 150))
    assert all(50 <= len(prompt) < 150 for prompt in made)
    assert len(set(made)) == 20


def test_only_full_blocks_are_announced() -> None:
    """Forty tokens are two blocks of sixteen; the tail is not in the event."""
    event = stored(PROMPT)

    assert len(event.block_hashes) == 2
    assert event.token_ids == PROMPT[: 2 * BLOCK_SIZE]


def test_eviction_begins_with_the_last_block() -> None:
    """The blocks of a prompt go in the reverse of their order."""
    first, last = stored(PROMPT).block_hashes

    assert removed(stored(PROMPT)) == BlockRemoved(block_hashes=(last, first), group_idx=0)


@pytest.mark.parametrize("events_as", Encoding, ids=lambda encoding: encoding.value)
def test_payloads_hold_the_events(events_as: Encoding) -> None:
    """What is encoded decodes to the events in their order, some in each batch."""
    events: list[Event] = [stored(PROMPT), removed(stored(PROMPT)), stored(PROMPT[::-1])]

    batches = [decode(payload).events for payload in encoded(events, per_batch=2, events_as=events_as)]

    assert batches == [tuple(events[:2]), tuple(events[2:])]
