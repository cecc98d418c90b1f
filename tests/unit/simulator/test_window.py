"""A hybrid model's cache: what it announces leads the index to what it reuses."""

import random

import pytest

from kvsync.events import BlockRemoved, BlockStored, Source
from kvsync.index import PrefixIndex, Prompt, lookup
from kvsync.simulator.blocks import BlockCache, CacheUse

POD = Source("a", "gemma")
SIZE = 4


def prompts(rng: random.Random, count: int) -> list[list[int]]:
    """Prompts that continue, shorten and repeat each other."""
    made = [[0] * SIZE]
    for _ in range(count):
        before = rng.choice(made[-12:])
        kept = before[: rng.randrange(len(before) + 1)] if rng.random() < 0.5 else before
        made.append([*kept, *(rng.randrange(3) for _ in range(rng.randrange(20)))][:120] or [1])
    return made


@pytest.mark.parametrize("window", [2, 5, 9, 16, 1000])
@pytest.mark.parametrize("reports", [False, True])
def test_predictions_are_what_a_hybrid_model_reuses(window: int, reports: bool) -> None:
    """Through evictions and chunks, the index says before each request what it will find."""
    rng = random.Random(window)
    cache, index, reused = BlockCache(40, SIZE, sliding_window=window), PrefixIndex(), 0
    for number, prompt in enumerate(prompts(rng, 300)):
        found = lookup(index, Prompt(model="gemma", tokens=prompt)).get(POD)
        # Other reports cannot be told from copies.
        blocks = found.blocks if found else 0
        is_told = number > 50 and 2 <= blocks < len(prompt) // SIZE
        use = CacheUse(reports_hits=reports and is_told)
        got = cache.allocate("r", prompt, budget=30, use=use)
        index.apply_batch(POD, got.events)
        for computed in range(min(len(prompt), got.cached_tokens + 30), len(prompt), 30):
            index.apply_batch(POD, cache.extend("r", prompt[computed : computed + 30]))
        cache.free("r")

        assert got.cached_tokens == (found.cached_tokens if found else 0), number
        reused += got.cached_tokens
    assert index.size(POD) == len(cache.table())
    assert reused > 1000


def test_a_window_is_announced_beside_full_attention() -> None:
    """Both groups name the same blocks, the window first, each with its number."""
    events = BlockCache(8, SIZE, sliding_window=6).allocate("r", list(range(9))).events
    stored = [event for event in events if isinstance(event, BlockStored)]

    assert [(each.group_idx, each.spec_kind, each.sliding_window) for each in stored] == [
        (0, "sliding_window", 6),
        (1, "full_attention", None),
    ]
    assert stored[0].block_hashes == stored[1].block_hashes


def test_blocks_that_a_window_has_left_are_found_until_they_are_drawn() -> None:
    """A long request gives them back while it runs; another one that needs blocks draws them first."""
    cache = BlockCache(9, SIZE, sliding_window=SIZE + 1)
    cache.allocate("r", list(range(16)))
    for token in range(16, 30):
        cache.extend("r", [token])
    assert cache.allocate("s", list(range(5))).cached_tokens == 4

    for request in "rs":
        cache.free(request)
    events = cache.allocate("t", [7] * 28).events
    assert {each.group_idx for each in events if isinstance(each, BlockRemoved)} == {0, 1}


def test_clearing_empties_the_window() -> None:
    """After a clearing nothing is reused, in either group."""
    cache = BlockCache(8, SIZE, sliding_window=6)
    cache.allocate("r", list(range(9)))
    cache.free("r")
    cache.clear()

    assert cache.allocate("r", list(range(9))).cached_tokens == 0
