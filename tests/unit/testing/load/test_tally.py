"""What came of many requests: counts, and latencies as a histogram."""

import json
import math
import random

import pytest

from kvsync.testing.load.http.histogram import LatencyHistogram, log_of
from kvsync.testing.load.http.tally import SUM, RequestTally, tallied
from kvsync.testing.load.http.thresholds import parse
from kvsync.testing.results.history import Record
from kvsync.testing.results.measurement import quantile


def record(latency_s: float, *, ok: bool = True, late_s: float = 0.0, **fields: object) -> Record:
    """Return the record of a request."""
    kind = "ok" if ok else "fail"
    more = {"status": 200 if ok else 500, "error": "" if ok else "it broke", "request": "x", "phase": 0}
    return {"f": "request", "type": kind, "latency_s": latency_s, "late_s": late_s, **more, **fields}


def tally(*records: Record) -> RequestTally:
    """Count records."""
    found = RequestTally()
    for each in records:
        found.add(each)
    return found


def test_percentiles_are_those_of_the_latencies() -> None:
    """To a thousandth."""
    rng = random.Random(1)
    latencies = [rng.lognormvariate(-4, 1.5) for _ in range(2000)]
    found = tally(*map(record, latencies))

    for share in (0.5, 0.95, 0.99, 0.999, 1.0):
        assert found.quantile(share) == pytest.approx(quantile(latencies, share), rel=1e-3)
    assert found.served.mean_s == pytest.approx(sum(latencies) / 2000)


def test_a_failure_is_slower_than_everything() -> None:
    """However soon it came: an answer that says nothing is not a quick one."""
    found = tally(*[record(0.01)] * 94, *[record(0.001, ok=False)] * 6)

    assert found.measure(parse("p90 < 1 s"), 10) == pytest.approx(0.01, rel=1e-3)
    assert found.measure(parse("p95 < 1 s"), 10) == math.inf
    assert found.measure(parse("max < 1 s"), 10) == math.inf
    assert found.measure(parse("errors < 1 %"), 10) == pytest.approx(0.06)
    assert found.measure(parse("rate > 1"), 10) == pytest.approx(9.4)
    assert found.errors == {"500 it broke": 6}


def test_without_a_sample_nothing_is_measured() -> None:
    """It is not a number, which holds no threshold."""
    assert all(
        math.isnan(RequestTally().measure(parse(text), 10))
        for text in ("p95 < 1 s", "mean < 1 s", "max < 1 s", "errors < 1 %", "rate > 1")
    )


def test_late_requests_are_told_apart() -> None:
    """Those for which there was no place are the service's doing; the others may be the sender's."""
    found = tally(record(0.4, late_s=0.3), record(0.4, late_s=0.3, crowded=True), record(0.1, ok=False))

    assert (found.late, found.crowded, found.failed, found.failed_in_time) == (2, 1, 1, 1)


def test_records_are_counted_by_phase_and_kind() -> None:
    """Those of other streams are not."""
    found = tallied(
        [record(0.1), record(0.1, phase=1), record(0.1, request="y"), {**record(1), "f": "control"}]
    )

    assert {place: each.count for place, each in found.items()} == {(0, "x"): 1, (1, "x"): 1, (0, "y"): 1}


def test_a_sum_counts_as_its_requests_do() -> None:
    """Whatever is asked of it: nothing that is judged depends on how a request was written down."""
    records = [
        *(record(number / 1024, phase=1, request="read") for number in range(1, 50)),
        record(0.2, ok=False, late_s=9.0, phase=1, request="read", crowded=True),
    ]
    whole = tallied(records)[1, "read"]
    summed: Record = {
        "f": "request",
        "type": SUM,
        "phase": 1,
        "request": "read",
        **tally(*records[20:]).to_json(),
    }

    found = tallied([*records[:20], json.loads(json.dumps(summed))])[1, "read"]

    assert found.to_json() == whole.to_json()
    assert [found.quantile(share) for share in (0.1, 0.5, 1)] == [whole.quantile(s) for s in (0.1, 0.5, 1)]


def test_the_log_is_what_tools_of_hdrhistogram_read() -> None:
    """Decoded once with hdrhistogram 0.10.8: 4 values, median 10,007 us, maximum 3,600,809,983 us."""
    histogram = LatencyHistogram()
    for latency_s in (0.01, 0.01, 0.000_5, 18_000.0):
        histogram.add(latency_s)

    *_, line = log_of({"ramp, read": (1.0, 2.5, histogram)}).splitlines()

    encoded = "HISTFAAAACp4nJNpmSzMwMDAxQABzFCaEURcm7yEwf4DROA5O9NNa5aFy5mYAJUHB+U="
    assert line == f"Tag=ramp__read,1.000,2.500,18000000000,{encoded}"
