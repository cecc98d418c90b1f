"""What a prompt costs by its length: hashing it, and finding the pods that hold its prefix."""

import random

import pytest

from kvsync.events import Source
from kvsync.hashing import block_hashes
from kvsync.index import PrefixIndex
from kvsync.testing.benchmarks.gauge import Gauge, Timing, feed, side_by_side
from kvsync.testing.benchmarks.workload import BLOCK_SIZE, encoded, prompts, stored
from kvsync.testing.results.measurement import Measurements

PODS = 10
TOKENS_PER_ROUND = 100_000
"""Short prompts are repeated so often that a round takes milliseconds."""


@pytest.fixture
def index() -> PrefixIndex:
    """An empty index."""
    return PrefixIndex()


@pytest.mark.parametrize("tokens", [100, 1000, 5000, 10_000, 50_000])
def test_prefix_length(
    tokens: int, index: PrefixIndex, rng: random.Random, rounds: int, measurements: Measurements
) -> None:
    """Of ten pods that hold more and more of a prompt, each is found with exactly what it holds."""
    (prompt,) = prompts(rng, 1, range(tokens, tokens + 1))
    held = {f"pod-{pod}": tokens * pod // PODS // BLOCK_SIZE for pod in range(1, PODS + 1)}
    for pod, blocks in held.items():
        feed(index, Source(pod, "model"), encoded([stored(prompt[: blocks * BLOCK_SIZE])]))
    hashes = block_hashes(prompt, BLOCK_SIZE)
    repeats = TOKENS_PER_ROUND // tokens

    hashing, matching = side_by_side(
        lambda: [block_hashes(prompt, BLOCK_SIZE) for _ in range(repeats)],
        lambda: [index.match("model", "", hashes) for _ in range(repeats)],
        rounds=rounds,
    )

    assert index.match("model", "", hashes) == {pod: blocks for pod, blocks in held.items() if blocks}
    gauge = Gauge(measurements, "prefix length", {"tokens": tokens, "pods": PODS})
    gauge.record_cost("hash", hashing, repeats)
    gauge.record_cost("match", matching, repeats)
    both = [
        Timing(one.wall_s + two.wall_s, one.cpu_s + two.cpu_s)
        for one, two in zip(hashing, matching, strict=True)
    ]
    gauge.record_cost("hash_and_match", both, repeats)


def test_growth_with_length(
    index: PrefixIndex, rng: random.Random, rounds: int, measurements: Measurements
) -> None:
    """A block of a long prompt is found as one of a short prompt; its relative price is recorded."""
    (prompt,) = prompts(rng, 1, range(50_000, 50_001))
    feed(index, Source("pod", "model"), encoded([stored(prompt)]))
    hashes = block_hashes(prompt, BLOCK_SIZE)
    short = hashes[: len(hashes) // 50]

    of_long, of_short = side_by_side(
        lambda: index.match("model", "", hashes),
        lambda: [index.match("model", "", short) for _ in range(50)],
        rounds=2 * rounds,
    )

    assert index.match("model", "", hashes) == {"pod": 3125}
    assert index.match("model", "", short) == {"pod": 62}
    gauge = Gauge(measurements, "prefix length", {"tokens": 50_000, "against": 992})
    gauge.record_ratio("match_per_block", of_long, of_short)
