"""The charts that nearly every report has."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from kvsync.ci.page.drawings import TIME_STEPS_S, latency_curves, stage_timeline, ticks, trend_charts
from kvsync.testing.results.outcome import Outcome, StageResult

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOSTILE = '<script>"&'


def stage(name: str, after_s: float, duration_s: float, outcome: Outcome = Outcome.PASSED) -> StageResult:
    """Return a stage that began some seconds after noon."""
    at = NOON + timedelta(seconds=after_s)
    return StageResult(name=name, outcome=outcome, started_at=at, duration_s=duration_s)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0.1, [0, 0.02, 0.04, 0.06, 0.08, 0.1]),
        (0, 28, [0, 5, 10, 15, 20, 25]),
        (0, 200, [0, 30, 60, 90, 120, 150, 180]),
        (0, 7000, [0, 1800, 3600, 5400]),
        (0, 800_000, [0, 800_000]),
    ],
)
def test_a_time_axis_has_round_times(low: float, high: float, expected: list[float]) -> None:
    """Round in seconds, minutes or hours, as long as the axis is."""
    assert ticks(low, high, 8, TIME_STEPS_S) == pytest.approx(expected)


def test_a_scale_need_not_begin_at_nothing() -> None:
    """Its first number is the first round one."""
    assert ticks(72.5, 101.5, 3) == [80, 90, 100]


def test_a_run_without_stages_has_no_time_line() -> None:
    """There is nothing to draw."""
    assert stage_timeline([]) == ""


def test_stages_are_bars_from_their_start_to_their_end() -> None:
    """The colour says how they ended; one that took no time can still be seen."""
    chart = stage_timeline(
        [stage("unit", 0, 10), stage("chaos", 20, 20, Outcome.FAILED), stage("end", 40, 0)]
    )

    bars = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)".*?var\(--(\w+)\)', chart)
    (x, width, tone), (later_x, later_width, later_tone), (_, least, _) = bars
    assert (tone, later_tone) == ("pass", "fail")
    assert float(later_width) == pytest.approx(2 * float(width), abs=0.2)
    assert float(later_x) - float(x) == pytest.approx(2 * float(width), abs=0.2)
    assert float(least) == 1
    assert "20 s, failed" in chart


def test_what_tests_say_stays_text() -> None:
    """Names of stages and measurements come from outside."""
    series = {HOSTILE: [(NOON, 1.0), (NOON, 2.0)]}
    charts = [stage_timeline([stage(HOSTILE, 0, 1)]), *trend_charts([], series, series)]

    assert len(charts) == 3
    assert all("&lt;script&gt;&#34;&amp;" in chart and "<script" not in chart for chart in charts)


def test_runs_are_drawn_evenly_and_higher_where_they_passed_more() -> None:
    """Each is a point in the colour of its verdict."""
    rates = [(NOON, 1.0, Outcome.PASSED), (NOON, 0.5, Outcome.FAILED), (NOON, 0.75, Outcome.UNKNOWN)]
    (chart,) = trend_charts(rates, {}, {})

    points = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)".*?var\(--(\w+)\)', chart)
    assert [tone for *_, tone in points] == ["pass", "fail", "unknown"]
    first, second = (float(right[0]) - float(left[0]) for left, right in pairwise(points))
    assert first == pytest.approx(second, abs=0.2)
    best, worst, middle = (float(y) for _, y, _ in points)
    assert best < middle < worst


def test_one_run_is_no_trend_and_of_many_series_the_first_are_drawn() -> None:
    """Two points make a line; nothing but zeros has a scale, too."""
    twice = {f"s{number}": [(NOON, 0.0), (NOON, 0.0)] for number in range(20)}
    (chart,) = trend_charts([(NOON, 1.0, Outcome.PASSED)], {"alone": [(NOON, 1.0)]}, twice)

    assert [name for name in twice if f"{name}: 0" in chart] == list(twice)[:12]


def test_latencies_are_drawn_towards_all_of_the_requests() -> None:
    """Each nine of the share is as far again, and each tenth of a second as high; one point is no curve."""
    curve = [(0.0, 0.001), (0.9, 0.01), (0.99, 0.1)]

    drawn = latency_curves({"all": curve, "few": [(0.0, 0.001)]})

    (line,) = re.findall(r'<polyline points="([^"]*)" stroke-width="1.4"', drawn)
    (x0, y0), (x1, y1), (x2, y2) = ((float(x), float(y)) for x, y in (at.split(",") for at in line.split()))
    assert x2 - x1 == pytest.approx(x1 - x0, abs=0.2)
    assert y1 - y2 == pytest.approx(y0 - y1, abs=0.2)
    assert "all: 100 ms" in drawn
    assert latency_curves({"few": [(0.0, 0.001)]}) == ""
