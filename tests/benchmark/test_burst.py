"""A burst over real sockets that is offered whether or not the receiver keeps up."""

from collections.abc import Callable
from pathlib import Path

from kvsync.testing.benchmarks.arrivals import Reception, receive
from kvsync.testing.benchmarks.flood import EventLoad
from kvsync.testing.benchmarks.gauge import Gauge
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.measurement import Measurements
from kvsync.testing.results.verdicts import Inconclusive

SECONDS = 5


def test_burst(
    seed: int,
    profile: str,
    tmp_path: Path,
    ledger: Ledger,
    measurements: Measurements,
    keep_histogram: Callable[[Reception], None],
) -> None:
    """Of ten thousand events offered in five seconds (full profile: five times as many) none is lost."""
    events = 10_000 if profile == "quick" else 50_000
    load = EventLoad(seed=seed, events=events, least=50, most=149, rate_per_s=events / SECONDS)

    reception = receive(load, log=tmp_path / "flood.log", ledger=ledger)

    keep_histogram(reception)
    assert reception.flaws(load) == []
    if reception.offered_s > 2 * SECONDS:
        raise Inconclusive(
            f"the publisher needed {reception.offered_s:.1f} s to offer the load of {SECONDS} s"
        )
    gauge = Gauge(measurements, "burst", {"events": events, "seconds": SECONDS})
    gauge.record("peak_lag", reception.peak_lag, "events", samples=events)
    gauge.record("wall_drain", reception.drain_s * 1e3, "ms", samples=1)
    gauge.record("gaps", reception.statuses[0].counters.gaps, "gaps", samples=events, goal=0)
    gauge.record("cpu_event", reception.cpu_s / events * 1e6, "us", samples=events)
    gauge.record_latencies("event", [reception.latencies])
