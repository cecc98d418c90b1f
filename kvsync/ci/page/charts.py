"""Charts as SVG inside the page: text uses the page's font, and colours are the page's variables.

Matplotlib does not know variables, so each colour is drawn as a unique number and replaced by a name later;
that way one chart suits light and dark pages.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from statistics import median

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from kvsync.ci.page.evidence import FaultWindow, RequestPoint
from kvsync.ci.page.timeline import Timeline
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import Outcome, StageResult

INK, MUTED, LINE, ACCENT = "#0a0001", "#0a0002", "#0a0003", "#0a0004"
PASS, UNKNOWN, FAIL, SURFACE = "#0a0005", "#0a0006", "#0a0007", "#0a0008"
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    PASS: "var(--pass)",
    UNKNOWN: "var(--unknown)",
    FAIL: "var(--fail)",
    SURFACE: "var(--surface)",
}
OUTCOME_COLOURS = {Outcome.PASSED: PASS, Outcome.UNKNOWN: UNKNOWN, Outcome.FAILED: FAIL}

STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names come from outside: a dollar sign does not start a formula
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
}

styled = mpl.rc_context(STYLE)  # type: ignore[arg-type]  # any mapping does; its type lists every literal key

WIDTH_IN = 11.5
LABEL_LENGTH = 48
TIME_STEPS_S = (30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 86400)
"""Between the ticks of a time axis, so that they are round in minutes or hours."""

MOST_POINTS = 1200
"""More requests than this are drawn as the fastest, median and slowest of each stretch of time."""

MOST_TRENDS = 12

LOG_SCALE_FROM = 30.0
"""If the slowest request took this many times the median, a linear axis would show nothing else."""


@styled
def stage_timeline(stages: Sequence[StageResult]) -> Markup:
    """Draw when each stage ran and how it ended; empty without stages."""
    if not stages:
        return Markup()
    begin = min(stage.started_at for stage in stages)
    offsets = [(stage.started_at - begin).total_seconds() for stage in stages]
    figure, axes = _axes(0.5 + 0.28 * len(stages))
    axes.barh(
        range(len(stages)),
        [max(stage.duration_s, 0.001) for stage in stages],
        left=offsets,
        height=0.62,
        color=[OUTCOME_COLOURS[stage.outcome] for stage in stages],
    )
    for position, (stage, offset) in enumerate(zip(stages, offsets, strict=True)):
        text = f"{duration(stage.duration_s)}, {stage.outcome.name.lower()}"
        _beside(axes, text, offset + stage.duration_s, position)
    end = max(o + stage.duration_s for o, stage in zip(offsets, stages, strict=True))
    axes.set_xlim(0, max(end, 0.1) * 1.14)
    _name_rows(axes, [stage.name for stage in stages])
    _time_axis(axes, end)
    return _svg(figure, "stages")


@styled
def run_timeline(timeline: Timeline) -> Markup:
    """Draw latencies above lanes of stages, faults, violations and pod events, on one time axis."""
    figure = Figure(figsize=(WIDTH_IN, 4.6), layout="constrained")
    above, lanes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    shift = timeline.offset_s
    moments = [mark.at for mark in timeline.marks] + [point.at + shift for point in timeline.requests]
    end = max(moments + [start + stage.duration_s for start, stage in timeline.stages])
    _scatter(above, timeline.requests, -shift)
    if timeline.requests:
        _scale(above, [point.latency_s * 1000 for point in timeline.requests])
    above.set_ylabel("latency, ms")
    for start, stage in timeline.stages:
        _span(lanes, 0, start, start + stage.duration_s, OUTCOME_COLOURS[stage.outcome])
        if stage.duration_s > end / 100:
            _ticks(lanes, 0, [start], SURFACE)
        if stage.duration_s > end / 20:
            middle = start + stage.duration_s / 2
            lanes.text(middle, 0, _label(stage.name), color=SURFACE, fontsize=8, ha="center", va="center")
    for fault in timeline.faults:
        stop = (fault.stop if fault.stop is not None else fault.end) + shift
        _span(lanes, 1, fault.start + shift, stop, FAIL)
        if fault.recovered:
            _ticks(lanes, 1, [fault.end + shift], PASS)
        above.axvspan(fault.start + shift, stop, color=FAIL, alpha=0.13, linewidth=0)
    _ticks(lanes, 2, [mark.at for mark in timeline.violations], FAIL)
    _ticks(lanes, 3, [mark.at for mark in timeline.pods], ACCENT)
    _name_rows(lanes, ["stages", "faults", "violations", "pods"])
    lanes.set_ylim(3.6, -0.6)
    lanes.set_xlim(min(0.0, *moments), max(end, 0.1) * 1.005)
    _time_axis(lanes, end)
    return _svg(figure, "timeline")


@styled
def trend_charts(
    pass_rates: Sequence[tuple[datetime, float, Outcome]],
    durations_s: Mapping[str, Sequence[tuple[datetime, float]]],
    benchmarks: Mapping[str, Sequence[tuple[datetime, float]]],
) -> list[Markup]:
    """Draw how recent runs went, the newest on the right: pass rates, stage durations, measurements."""
    return [
        *([_pass_rates(pass_rates)] if len(pass_rates) > 1 else []),
        *_small_charts("durations", durations_s, duration),
        *_small_charts("benchmarks", benchmarks, number),
    ]


@styled
def latency_chart(
    name: str,
    points: Sequence[RequestPoint],
    faults: Sequence[FaultWindow],
    *,
    violations: Sequence[float] = (),
    pods: Sequence[float] = (),
    height_in: float = 2.5,
) -> Markup:
    """Draw the latencies of at least one request over time, with failures, fault windows and recoveries.

    `violations` and `pods` are the moments at which something was found wrong, or happened to a pod.
    """
    times = [point.at for point in points] + [fault.start for fault in faults]
    begin, end = min(times), max(times + [fault.end for fault in faults])
    figure, axes = _axes(height_in)
    _scatter(axes, points, begin)
    _scale(axes, [point.latency_s * 1000 for point in points])
    for moments, colour, height in ((violations, FAIL, 0.3), (pods, ACCENT, 0.06)):
        inside = [at - begin for at in moments if begin <= at <= end]
        axes.vlines(inside, 0, height, color=colour, linewidth=1.2, transform=axes.get_xaxis_transform())
    for fault in faults:
        _shade(axes, fault, begin, end)
    axes.set_xlim(0, max(end - begin, 0.1) * 1.01)
    axes.set_xlabel("seconds since the first request or fault")
    axes.set_ylabel("latency, ms")
    return _svg(figure, name)


@styled
def headroom_chart(measurements: Sequence[Measurement]) -> Markup:
    """Draw how many times better than its goal each measurement is; empty if none has a goal."""
    rows = [(each, _headroom(each)) for each in measurements if each.reaches_goal is not None]
    if not rows:
        return Markup()
    figure, axes = _axes(0.6 + 0.25 * len(rows))
    axes.barh(
        range(len(rows)),
        [share - 1 for _, share in rows],
        left=1,
        height=0.6,
        color=[PASS if each.reaches_goal else FAIL for each, _ in rows],
    )
    for position, (each, share) in enumerate(rows):
        text = f"{number(each.value)} of {number(each.goal or 0)} {_label(each.unit)}"
        _beside(axes, text, share, position, left=share < 1)
    axes.axvline(1, color=INK, linewidth=1)
    _name_rows(axes, [f"{each.name} {each.metric}" for each, _ in rows])
    axes.set_xscale("log")
    shares = [share for _, share in rows]
    axes.set_xlim(min(0.5, min(shares) / 3), max(2.0, max(shares) * 4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g} x"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.set_xlabel("times better than the goal")
    return _svg(figure, "goals")


def duration(seconds: float) -> str:
    """Write a duration for people, such as `850 ms`, `12.4 s`, `3 min 5 s` or `2 h 10 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms" if seconds else "0 s"
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 ", " ")
    size, large, small = (60, "min", "s") if seconds < 3600 else (3600, "h", "min")
    whole, rest = divmod(round(seconds), size)
    rest = rest * 60 // size
    return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"


def age(seconds: float) -> str:
    """Write how long ago something was, such as `5 h` or `12 d`."""
    hours = int(seconds // 3600)
    return f"{hours // 24} d" if hours >= 24 else f"{hours} h"


def moment(seconds: float) -> str:
    """Write a moment of a run, such as `0:07.5` or `1:02:03.0`."""
    tenths = max(round(seconds * 10), 0)
    hours, minutes = divmod(tenths // 600, 60)
    rest = f"{tenths % 600 / 10:04.1f}"
    return f"{hours}:{minutes:02}:{rest}" if hours else f"{minutes}:{rest}"


def number(value: float) -> str:
    """Write a number for people: three significant digits, large ones in groups of thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _axes(height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    return figure, figure.add_subplot()


def _time_axis(axes: Axes, end: float) -> None:
    if end > TIME_STEPS_S[0]:
        step = next((each for each in TIME_STEPS_S if end <= 8 * each), end)
        axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: duration(seconds)))


def _scatter(axes: Axes, points: Sequence[RequestPoint], begin: float) -> None:
    """Draw requests by the moment they ended after `begin`; failed ones as crosses at the top."""
    ok, failed = _thinned([point for point in points if point.ok]), [each for each in points if not each.ok]
    axes.scatter(
        [point.at - begin for point in ok],
        [point.latency_s * 1000 for point in ok],
        s=7,
        color=ACCENT,
        alpha=0.65,
        linewidths=0,
    )
    axes.scatter(
        [point.at - begin for point in failed],
        [0.95] * len(failed),
        s=20,
        color=FAIL,
        marker="x",
        linewidths=1.1,
        transform=axes.get_xaxis_transform(),
    )


def _span(axes: Axes, row: int, start: float, stop: float, colour: str) -> None:
    axes.barh(row, stop - start, left=start, height=0.55, color=colour)
    _ticks(axes, row, [start], colour)


def _ticks(axes: Axes, row: int, moments: Sequence[float], colour: str) -> None:
    axes.vlines(moments, row - 0.27, row + 0.27, color=colour, linewidth=1.2)


def _pass_rates(rates: Sequence[tuple[datetime, float, Outcome]]) -> Markup:
    figure, axes = _axes(1.9)
    positions = range(len(rates))
    axes.plot(positions, [100 * rate for _, rate, _ in rates], color=LINE, linewidth=1.2, zorder=1)
    axes.scatter(
        positions,
        [100 * rate for _, rate, _ in rates],
        s=26,
        color=[OUTCOME_COLOURS[outcome] for *_, outcome in rates],
        zorder=2,
    )
    lowest = min(100 * rate for _, rate, _ in rates)
    axes.set_ylim(min(lowest, 90) - (100 - lowest) * 0.1 - 0.5, 101.5)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g} %"))
    _run_axis(axes, [at for at, *_ in rates])
    axes.set_title("passed, of the decided checks", loc="left", fontsize=9, color=MUTED)
    return _svg(figure, "pass rates")


def _small_charts(
    name: str, series: Mapping[str, Sequence[tuple[datetime, float]]], written: Callable[[float], str]
) -> list[Markup]:
    """Draw a small chart for each series of several runs, three in a row."""
    shown = [(title, points) for title, points in series.items() if len(points) > 1][:MOST_TRENDS]
    if not shown:
        return []
    rows = -(-len(shown) // 3)
    figure = Figure(figsize=(WIDTH_IN, 1.6 * rows), layout="constrained")
    every = figure.subplots(rows, 3, squeeze=False).flatten()
    for axes, (title, points) in zip(every, shown, strict=False):
        values = [value for _, value in points]
        axes.plot(range(len(values)), values, color=ACCENT, linewidth=1.4, marker=".", markersize=5)
        axes.set_ylim(0, max(values) * 1.25 or 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))
        axes.set_title(_label(f"{title}: {written(values[-1])}"), loc="left", fontsize=8, color=INK)
        _run_axis(axes, [at for at, _ in points])
    for axes in every[len(shown) :]:
        axes.set_axis_off()
    return [_svg(figure, name)]


def _run_axis(axes: Axes, moments: Sequence[datetime]) -> None:
    """Label the first and the last run; runs are evenly spaced, no matter how much time lay between them."""
    last = len(moments) - 1
    axes.set_xlim(-0.3, last + 0.3)
    axes.set_xticks([0, last], [f"{moments[0]:%m-%d %H:%M}", f"{moments[-1]:%m-%d %H:%M}"], fontsize=7)
    first_label, last_label = axes.get_xticklabels()
    first_label.set_horizontalalignment("left")
    last_label.set_horizontalalignment("right")


def _beside(axes: Axes, text: str, x: float, y: float, *, left: bool = False) -> None:
    """Write a text next to the end of a horizontal bar."""
    axes.annotate(
        text,
        (x, y),
        xytext=(-5 if left else 5, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        color=MUTED,
        fontsize=8,
    )


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Label horizontal bars, the first on top."""
    axes.set_yticks(range(len(names)), [_label(name) for name in names])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def _scale(axes: Axes, latencies_ms: Sequence[float]) -> None:
    """Leave room for the labels of faults above the points."""
    slowest = max(latencies_ms) or 1.0
    if slowest > LOG_SCALE_FROM * (median(latencies_ms) or slowest):
        axes.set_yscale("log")
        axes.set_ylim(max(min(latencies_ms), 0.01) / 2, slowest * 8)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    else:
        axes.set_ylim(0, slowest * 1.4)
        axes.yaxis.set_major_locator(MaxNLocator(5))


def _shade(axes: Axes, fault: FaultWindow, begin: float, end: float) -> None:
    start, stop = fault.start - begin, (fault.stop or end) - begin
    axes.axvspan(start, stop, color=FAIL, alpha=0.13, linewidth=0)
    axes.annotate(
        _label(fault.label),
        (start, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, -24),
        textcoords="offset points",
        color=FAIL,
        fontsize=8,
    )
    if fault.recovered:
        axes.axvline(fault.end - begin, color=PASS, linewidth=1.2, linestyle="--")


def _thinned(points: Sequence[RequestPoint]) -> list[RequestPoint]:
    """Return at most about MOST_POINTS of the points, with the extremes of every stretch of time."""
    if len(points) <= MOST_POINTS:
        return list(points)
    size = -(-3 * len(points) // MOST_POINTS)
    kept = []
    for _, group in groupby(enumerate(points), key=lambda numbered: numbered[0] // size):
        ordered = sorted((point for _, point in group), key=lambda point: point.latency_s)
        kept += [ordered[0], ordered[len(ordered) // 2], ordered[-1]]
    return kept


def _headroom(measurement: Measurement) -> float:
    value, goal = max(measurement.value, 1e-9), max(measurement.goal or 0.0, 1e-9)
    return goal / value if measurement.better == "lower" else value / goal


def _label(text: str) -> str:
    """Return text that is safe and short enough for a label."""
    shown = "".join(char for char in text if char.isprintable())
    return shown if len(shown) <= LABEL_LENGTH else f"{shown[: LABEL_LENGTH - 1]}…"


def _svg(figure: Figure, name: str) -> Markup:
    nothing: Mapping[str, str | None] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    written = io.StringIO()
    # The salt keeps the ids of one chart apart from those of other charts on the page.
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;]*; ", "", svg).replace('xlink:href="', 'href="')
    for drawn, variable in VARIABLES.items():
        svg = svg.replace(drawn, variable)
    # Matplotlib escapes the text it draws, and the rest is its own markup.
    return Markup(svg)  # noqa: S704
