"""What a lookup costs."""

from kvsync import BlockStored, PrefixIndex, Source, block_hashes
from kvsync.testing.benchmarks.gauge import Gauge, timed
from kvsync.testing.results.measurement import Measurements

BLOCK, LOOKUPS = 16, 1000


def test_a_long_prefix_is_found(measurements: Measurements) -> None:
    """Every lookup finds all blocks; how long that takes is recorded."""
    tokens = tuple(range(64 * BLOCK))
    index = PrefixIndex(BLOCK)
    event = BlockStored(
        block_hashes=tuple(range(64)), parent_block_hash=None, token_ids=tokens, block_size=BLOCK
    )
    index.apply(Source("pod", "demo"), event)
    hashes = block_hashes(tokens, BLOCK)
    found: list[int] = []

    timings = [
        timed(lambda: found.extend(index.match("demo", "", hashes)["pod"] for _ in range(LOOKUPS)))
        for _ in range(5)
    ]

    assert set(found) == {64}
    Gauge(measurements, "lookup", {"blocks": 64}).record_cost("lookup", timings, LOOKUPS)
