"""What the index takes for each thousand events, in a fresh process."""

import json
import sys
from pathlib import Path

import pytest

from kvsync.testing.benchmarks.footprint import Footprint
from kvsync.testing.benchmarks.gauge import Gauge
from kvsync.testing.benchmarks.workload import BLOCK_SIZE
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.runner import run
from kvsync.testing.results.measurement import Measurements

GOAL_MB_PER_1K_EVENTS = 1.0


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("thousands", "least", "most"),
    [pytest.param(1, 48, 48, id="3-blocks"), pytest.param(10, 50, 149, id="50-149-tokens")],
)
def test_memory(
    thousands: int,
    least: int,
    most: int,
    profile: str,
    seed: int,
    ledger: Ledger,
    tmp_path: Path,
    measurements: Measurements,
) -> None:
    """An index fed in a fresh process holds the blocks of every event, and says what they weigh."""
    events = thousands * (1000 if profile == "quick" else 10_000)
    arguments = [str(each) for each in (seed, events, least, most)]
    result = run(
        [sys.executable, "-m", "kvsync.testing.benchmarks.footprint", *arguments],
        log=tmp_path / "footprint.log",
        timeout_s=100,
        ledger=ledger,
    )

    assert result.exit_code == 0, result.tail
    footprint = Footprint(**json.loads(result.tail))
    assert events * (least // BLOCK_SIZE) <= footprint.blocks <= events * (most // BLOCK_SIZE)
    gauge = Gauge(measurements, "memory", {"events": events, "tokens": f"{least}-{most}"})
    for instrument, per_block in (
        ("traced", footprint.traced_per_block),
        ("resident", footprint.resident / footprint.blocks),
    ):
        per_1k_events = per_block * footprint.blocks / events * 1000 / 1e6
        gauge.record(f"{instrument}_per_block", per_block, "B", samples=footprint.blocks)
        gauge.record(
            f"{instrument}_per_1k_events", per_1k_events, "MB", samples=events, goal=GOAL_MB_PER_1K_EVENTS
        )
