"""The measuring code: what is timed, in which order, and what becomes of the numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kvsync.testing.benchmarks.gauge import Gauge, Timing, side_by_side, timed
from kvsync.testing.results.measurement import Measurements, read_measurements
from kvsync.testing.results.verdicts import Inconclusive


@pytest.fixture
def gauge(tmp_path: Path) -> Gauge:
    """A gauge that records into an empty file."""
    return Gauge(Measurements(tmp_path / "benchmark.json"), "sorting", {"items": 3})


def ticks(*times: float) -> Callable[[], float]:
    """A clock that shows these times, one after the other."""
    return iter(times).__next__


def recorded(gauge: Gauge) -> dict[str, float]:
    """The values in the file of a gauge, by metric."""
    return {each.metric: each.value for each in read_measurements(gauge.measurements.path)}


def test_both_clocks_are_read_around_the_work() -> None:
    """A timing is the difference of each clock."""
    assert timed(lambda: None, wall=ticks(10.0, 13.0), cpu=ticks(5.0, 6.0)) == Timing(3.0, 1.0)


def test_works_take_turns_and_change_places() -> None:
    """Each round does every work once, so that a drift of the machine hits all alike."""
    done: list[str] = []

    timings = side_by_side(lambda: done.append("a"), lambda: done.append("b"), rounds=3)

    assert done == ["a", "b", "b", "a", "a", "b"]
    assert [len(each) for each in timings] == [3, 3]


def test_cost_of_an_operation(gauge: Gauge) -> None:
    """The least CPU time and the median wall time, in microseconds for each operation."""
    gauge.record_cost("sort", [Timing(0.5, 0.3), Timing(0.4, 0.2), Timing(9.0, 0.4)], operations=100_000)

    assert recorded(gauge) == {"cpu_sort_min": 2.0, "wall_sort_median": 5.0}


def test_rate_of_operations(gauge: Gauge) -> None:
    """Operations a second by the same two statistics; the goal belongs to the wall clock."""
    gauge.record_rate("sorts", [Timing(0.5, 0.25), Timing(0.5, 0.3)], operations=1000, goal=2000)

    cpu, wall = read_measurements(gauge.measurements.path)
    assert (cpu.metric, cpu.value, cpu.goal) == ("cpu_sorts_per_s_max", 4000, None)
    assert (wall.metric, wall.value, wall.reaches_goal) == ("wall_sorts_per_s_median", 2000, True)


def test_ratio_is_of_rounds_side_by_side(gauge: Gauge) -> None:
    """Rounds are compared with their own partner, then the median is taken."""
    ours, other = [Timing(1, 1), Timing(1, 8), Timing(1, 3)], [Timing(1, 2), Timing(1, 4), Timing(1, 1)]

    gauge.record_ratio("us_to_them", ours, other)

    assert recorded(gauge) == {"cpu_us_to_them": 2.0}


def test_latencies_are_medians_of_the_rounds(gauge: Gauge) -> None:
    """One disturbed round does not decide P50 or P99; the maximum is that of all."""
    calm, disturbed = [0.001] * 300, [0.5] * 300

    gauge.record_latencies("sort", [calm, disturbed, calm], p99_goal_us=900)

    assert recorded(gauge) == {"wall_sort_p50": 1000, "wall_sort_p99": 1000, "wall_sort_max": 500_000}
    p99 = read_measurements(gauge.measurements.path)[1]
    assert (p99.samples, p99.goal, p99.reaches_goal) == (900, 900, False)


def test_a_tail_of_few_samples_is_inconclusive(gauge: Gauge) -> None:
    """Fewer samples than a P99 needs are reported as such and not as a number."""
    with pytest.raises(Inconclusive, match="499 samples of sort, a P99 needs 500"):
        gauge.record_latencies("sort", [[0.001] * 499])

    assert recorded(gauge) == {}
