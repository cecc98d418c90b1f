"""What the event path and the routing decision cost, in CPU time: what `kvsync-ci ab` compares commits by.

`python -m kvsync.testing.benchmarks.costs` prints it in github-action-benchmark's `customSmallerIsBetter`.
Each cost is the least of many rounds, which on a busy machine spreads by 2 to 4 %.
"""

import gc
import json
import random
from array import array
from collections.abc import Callable, Iterator
from functools import partial

from kvsync.events import Source
from kvsync.hashing import block_hashes
from kvsync.index import PrefixIndex
from kvsync.index.lookup import Prompt, lookup
from kvsync.testing.benchmarks.gauge import feed, timed
from kvsync.testing.benchmarks.workload import BLOCK_SIZE, encoded, prompts, removed, stored

ROUNDS = 40

SOURCES = [Source(f"pod-{number}", "m", 0) for number in range(10)]

LONG = 8192
"""Tokens of the prompt that is matched."""


def costs() -> Iterator[tuple[str, float]]:
    """Give the name of each cost and microseconds for one operation."""
    gc.freeze()  # what was imported: to look through it before each round takes twice as long as all rounds
    rng = random.Random(0)  # noqa: S311 - workload, not secrets
    for blocks, count in ((1, 1000), (64, 60)):
        length = blocks * BLOCK_SIZE
        events = [stored(prompt) for prompt in prompts(rng, count, range(length, length + 1))]
        there = encoded(events)
        away = encoded([removed(event) for event in events])
        index = PrefixIndex(BLOCK_SIZE)
        yield (
            f"apply {blocks} of a prompt's blocks",
            _least(partial(_there_and_back, index, there, away), 2 * count),
        )
    prompt = prompts(rng, 1, range(LONG, LONG + 1))[0]
    index = PrefixIndex(BLOCK_SIZE)
    for source in SOURCES:
        feed(index, source, encoded([stored(prompt)]))
    tokens = array("I", prompt)
    asked = Prompt(model="m", tokens=tokens)
    yield "match 8,192 tokens", _least(lambda: [lookup(index, asked) for _ in range(100)], 100)
    yield "hash 8,192 tokens", _least(lambda: [block_hashes(tokens, BLOCK_SIZE) for _ in range(100)], 100)


def _there_and_back(index: PrefixIndex, there: list[bytes], away: list[bytes]) -> None:
    feed(index, SOURCES[0], there)
    feed(index, SOURCES[0], away)


def _least(work: Callable[[], object], operations: int) -> float:
    return min(timed(work).cpu_s for _ in range(ROUNDS)) / operations * 1e6


def main() -> None:
    """Print all costs."""
    print(json.dumps([{"name": name, "unit": "us", "value": value} for name, value in costs()]))


if __name__ == "__main__":
    main()
