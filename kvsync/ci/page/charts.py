"""The charts of requests, faults and measurements, as SVG inside the page.

Text uses the page's font, and colours are the page's variables. Matplotlib does not know these, so each
colour is drawn as a unique number and replaced by a name later; that way a chart suits light and dark pages.
"""

import io
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import median

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from kvsync.ci.page.drawings import TIME_STEPS_S
from kvsync.ci.page.evidence import FaultWindow, RequestPoint
from kvsync.ci.page.timeline import Timeline
from kvsync.ci.page.wording import duration, label, number, quantity
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import Outcome

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

MOST_POINTS = 1200
"""More requests than this are drawn as the fastest, median and slowest of each stretch of time."""

MOST_TIMES = 100.0

LOG_SCALE_FROM = 30.0
"""If the slowest request took this many times the median, a linear axis would show nothing else."""


@styled
def run_timeline(timeline: Timeline) -> Markup:
    """Draw latencies above lanes of stages, faults, violations and pod events, on one time axis."""
    figure = Figure(figsize=(WIDTH_IN, 4.6), layout="constrained")
    above, lanes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    shift = timeline.offset_s
    moments = [mark.at for mark in timeline.marks] + [point.at + shift for point in timeline.requests]
    end = max(moments + [start + stage.duration_s for start, stage in timeline.stages])
    rows = timeline.rows
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
            lanes.text(middle, 0, label(stage.name), color=SURFACE, fontsize=8, ha="center", va="center")
    for fault in timeline.faults:
        stop = (fault.stop if fault.stop is not None else fault.end) + shift
        _span(lanes, rows.index("faults"), fault.start + shift, stop, FAIL)
        if fault.recovered:
            _ticks(lanes, rows.index("faults"), [fault.end + shift], PASS)
        above.axvspan(fault.start + shift, stop, color=FAIL, alpha=0.13, linewidth=0)
    for name, marks, colour in (("violations", timeline.violations, FAIL), ("pods", timeline.pods, ACCENT)):
        if name in rows:
            _ticks(lanes, rows.index(name), [mark.at for mark in marks], colour)
    _name_rows(lanes, rows)
    lanes.set_ylim(len(rows) - 0.4, -0.6)
    lanes.set_xlim(min(0.0, *moments), max(end, 0.1) * 1.005)
    _time_axis(lanes, end)
    return _svg(figure, "timeline")


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
    """Draw how many times better than its goal each measurement is; empty if none has a goal.

    Bars end at MOST_TIMES: no errors at all are better without an end, and would leave the others no room.
    """
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
        text = f"{quantity(each.value, label(each.unit))} of {quantity(each.goal or 0, label(each.unit))}"
        _beside(axes, text, share, position, left=share < 1)
    axes.axvline(1, color=INK, linewidth=1)
    _name_rows(axes, [f"{each.name} {each.metric}" for each, _ in rows])
    axes.set_xscale("log")
    shares = [share for _, share in rows]
    axes.set_xlim(min(0.5, min(shares) / 3), max(2.0, max(shares) * 4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{number(share)} x"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.set_xlabel("times better than the goal")
    return _svg(figure, "goals")


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
    axes.set_yticks(range(len(names)), [label(name) for name in names])
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
        label(fault.label),
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
    times = goal / value if measurement.better == "lower" else value / goal
    return min(max(times, 1 / MOST_TIMES), MOST_TIMES)


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
