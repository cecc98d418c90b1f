"""What an index weighs, as JSON: `python -m kvsync.testing.benchmarks.footprint SEED EVENTS LEAST MOST`.

LEAST and MOST limit the tokens of a prompt. A process of its own is fresh: memory that something else freed
would be used again and hide what the index takes. Two instruments, because they answer two questions: the
resident set is what an operator pays for, with the allocator's slack; tracemalloc counts the bytes of the
index and nothing else, on every run the same.
"""

import gc
import json
import random
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import psutil

from kvsync.events import Source
from kvsync.index import PrefixIndex
from kvsync.testing.benchmarks.gauge import feed
from kvsync.testing.benchmarks.workload import encoded, prompts, stored

SOURCE = Source("pod-0", "model")
WARM_UP = 100
"""Events that load and allocate what any index needs."""

TRACED = 1000
"""Events to trace at most: tracing makes an allocation ten times slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What an index of `blocks` blocks takes in all, and one block of it, in bytes."""

    blocks: int
    resident: int
    traced_per_block: float


def measure(seed: int, events: int, tokens: range) -> Footprint:
    """Fill an index under each instrument."""
    _filled(_payloads(seed, WARM_UP, tokens))
    before = _resident()
    index = _filled(_payloads(seed, events, tokens))
    resident = _resident() - before
    prepared = list(_payloads(seed, min(events, TRACED), tokens))
    tracemalloc.start()
    traced_index = _filled(prepared)
    gc.collect()
    traced, _ = tracemalloc.get_traced_memory()
    return Footprint(
        blocks=index.blocks_total,
        resident=resident,
        traced_per_block=traced / traced_index.blocks_total,
    )


def _payloads(seed: int, events: int, tokens: range) -> Iterator[bytes]:
    """Make one at a time, so that what this takes is not used again for the index."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(events):
        yield from encoded([stored(prompt) for prompt in prompts(rng, 1, tokens)])


def _filled(payloads: Iterable[bytes]) -> PrefixIndex:
    index = PrefixIndex()
    feed(index, SOURCE, payloads)
    return index


def _resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    seed, events, least, most = map(int, sys.argv[1:])
    print(json.dumps(asdict(measure(seed, events, range(least, most + 1)))))
