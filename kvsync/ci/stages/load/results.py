"""What is kept of a load: a summary for the report, histograms, and measurements for trends."""

import json
from collections.abc import Sequence
from pathlib import Path

from kvsync.testing.load.http.judgement import Offered
from kvsync.testing.load.http.summary import FILE, LoadSummary, histogram_log, measurements
from kvsync.testing.load.http.thresholds import Threshold
from kvsync.testing.results.measurement import machine_facts, read_measurements, write_measurements
from kvsync.testing.results.outcome import Check
from kvsync.testing.results.whole import write_whole

HISTOGRAMS = "latencies.hlog"


def keep_load(
    stage: str, folder: Path, offered: Offered, thresholds: Sequence[Threshold], checks: Sequence[Check]
) -> None:
    """Keep what came of a load in its folder of evidence, and its measurements with those of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    summary = LoadSummary.of(stage, offered, checks)
    write_whole(folder / FILE, json.dumps(summary.to_json(), indent=1) + "\n")
    write_whole(folder / HISTOGRAMS, histogram_log(offered))
    run = folder.parents[1] / "benchmark.json"
    found = [*read_measurements(run), *measurements(stage, offered, thresholds)]
    write_measurements(run, found, machine_facts())
