"""The charts that nearly every report has: drawn by hand, since importing Matplotlib takes 1 s. Pure."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle

from markupsafe import Markup

from kvsync.ci.page.wording import duration, label, number
from kvsync.testing.results.outcome import Outcome, StageResult

TONES = {Outcome.PASSED: "pass", Outcome.UNKNOWN: "unknown", Outcome.FAILED: "fail"}
"""Colours are variables of the page, so that one chart suits light and dark pages."""

WIDTH, ROW, CHARACTER = 828.0, 20.0, 5.2
"""Of a chart, of a bar with the gap below it, and of a character at most, in the units of the drawing."""

TIME_STEPS_S = (30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 86400)
"""Between the ticks of a time axis, so that they are round in minutes or hours."""

MOST_TRENDS = 12

_SHARES = (0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999)
_TONES = ("accent", "pass", "unknown", "fail", "ink", "muted")

Series = Sequence[tuple[datetime, float]]


def stage_timeline(stages: Sequence[StageResult]) -> Markup:
    """Draw when each stage ran and how it ended; empty without stages."""
    if not stages:
        return Markup()
    begin = min(stage.started_at for stage in stages)
    offsets = [(stage.started_at - begin).total_seconds() for stage in stages]
    end = max(0.1, *(at + stage.duration_s for at, stage in zip(offsets, stages, strict=True)))
    left = 14 + CHARACTER * max(len(label(stage.name)) for stage in stages)
    scale, bottom = (WIDTH - left - 100) / end, ROW * len(stages)
    parts = []
    for at in ticks(0, end, 8, TIME_STEPS_S):
        parts += [_line([(left + at * scale, 0), (left + at * scale, bottom)], "line")]
        parts += [_text(left + at * scale, bottom + 12, duration(at), anchor="middle")]
    for row, (at, stage) in enumerate(zip(offsets, stages, strict=True)):
        x, width, base = left + at * scale, max(stage.duration_s * scale, 1), row * ROW + 13
        said = f"{duration(stage.duration_s)}, {stage.outcome.name.lower()}"
        parts.append(_text(left - 6, base, label(stage.name), "ink", anchor="end"))
        parts.append(_node("rect", TONES[stage.outcome], x=x, y=row * ROW + 3, width=width, height=14))
        parts.append(_text(x + width + 5, base, said))
    return _svg(bottom + 18, parts)


def trend_charts(
    pass_rates: Sequence[tuple[datetime, float, Outcome]],
    durations_s: Mapping[str, Series],
    benchmarks: Mapping[str, Series],
) -> list[Markup]:
    """Draw how recent runs went, the newest on the right: pass rates, stage durations, measurements."""
    return [
        *([_pass_rates(pass_rates)] if len(pass_rates) > 1 else []),
        *_small_charts(durations_s, duration),
        *_small_charts(benchmarks, number),
    ]


def latency_curves(curves: Mapping[str, Sequence[tuple[float, float]]]) -> Markup:
    """Draw which latency (s) a share of requests does not exceed, as the plots of HdrHistogram do.

    Both axes are logarithmic, that of the shares towards 100 %. Empty where no curve has two points.
    """
    shown = {name: points for name, points in curves.items() if len(points) > 1}
    if not shown:
        return Markup()
    latencies = [latency for points in shown.values() for _, latency in points]
    low = math.floor(math.log10(max(1e-6, min(latencies))))
    high = max(low + 1, math.ceil(math.log10(max(latencies))))
    last = max(share for points in shown.values() for share, _ in points)
    left, top, right, bottom = 58.0, 8.0, WIDTH - 160, 190.0

    def place(share: float, latency: float) -> tuple[float, float]:
        height = (math.log10(max(1e-6, latency)) - low) / (high - low)
        return left + _nines(share) / _nines(last) * (right - left), bottom - height * (bottom - top)

    parts = []
    for power in range(low, high + 1):
        _, y = place(0, 10.0**power)
        parts += [_line([(left, y), (right, y)], "line")]
        parts += [_text(left - 6, y + 3, duration(10.0**power), anchor="end")]
    for share in (share for share in _SHARES if share <= last):
        x, _ = place(share, 1)
        parts += [_line([(x, top), (x, bottom)], "line")]
        parts += [_text(x, bottom + 12, f"{100 * share:g} %", anchor="middle")]
    below = top
    ends = sorted((place(*points[-1])[1], name) for name, points in shown.items())
    for tone, (y, name) in zip(cycle(_TONES), ends, strict=False):
        below = max(below + 10, y)
        parts += [_line([place(*point) for point in shown[name]], tone, 1.4)]
        parts += [_text(right + 8, below + 3, label(f"{name}: {duration(shown[name][-1][1])}"), tone)]
    return _svg(max(bottom, below) + 18, parts)


def _nines(share: float) -> float:
    """Return how far to the right a share is: each nine more is as far again."""
    return -math.log10(1 - share)


def ticks(low: float, high: float, most: int, steps: Iterable[float] = ()) -> list[float]:
    """Return at most about `most` round numbers in a range; if it is long, multiples of one of `steps`."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / most))
    fine = (each * power for each in (1, 2, 5, 10))
    coarse = [each for each in steps if span > min(steps)]
    step = next((each for each in coarse or fine if span <= most * each), span)
    first = math.ceil(low / step - 1e-9)
    return [count * step for count in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    """A place for one series: `low` and `high` are the ends of its scale."""

    x: float
    y: float
    width: float
    height: float
    low: float
    high: float

    def places(self, values: Sequence[float]) -> list[tuple[float, float]]:
        step = (self.width - 8) / (len(values) - 1)
        return [(self.x + 4 + at * step, self._y(value)) for at, value in enumerate(values)]

    def axes(self, title: str, moments: Sequence[datetime], written: Callable[[float], str]) -> list[Markup]:
        """Draw the title, the scale, and the first and the last run: runs are evenly spaced."""
        right, below = self.x + self.width, self.y + self.height + 10
        parts = [_text(self.x, self.y - 7, title, "ink")]
        for value in ticks(self.low, self.high, 3):
            parts.append(_line([(self.x, self._y(value)), (right, self._y(value))], "line"))
            parts.append(_text(self.x - 5, self._y(value) + 3, written(value), anchor="end", size=7.5))
        parts.append(_text(self.x, below, f"{moments[0]:%m-%d %H:%M}", size=7))
        return [*parts, _text(right, below, f"{moments[-1]:%m-%d %H:%M}", anchor="end", size=7)]

    def _y(self, value: float) -> float:
        return self.y + self.height * (self.high - value) / (self.high - self.low)


def _pass_rates(rates: Sequence[tuple[datetime, float, Outcome]]) -> Markup:
    values = [100 * rate for _, rate, _ in rates]
    low = min(*values, 90.0) - (100 - min(values)) * 0.1 - 0.5
    panel = _Panel(x=46, y=18, width=WIDTH - 56, height=90, low=low, high=101.5)
    places = panel.places(values)
    parts = panel.axes(
        "passed, of the decided checks", [at for at, *_ in rates], lambda share: f"{share:g} %"
    )
    parts.append(_line(places, "line", 1.2))
    for (x, y), (*_, outcome) in zip(places, rates, strict=True):
        parts.append(_node("circle", TONES[outcome], cx=x, cy=y, r=2.9))
    return _svg(124, parts)


def _small_charts(series: Mapping[str, Series], written: Callable[[float], str]) -> list[Markup]:
    """Draw a small chart for each series of several runs, three in a row."""
    shown = [(title, points) for title, points in series.items() if len(points) > 1][:MOST_TRENDS]
    parts: list[Markup] = []
    for number_, (title, points) in enumerate(shown):
        row, column = divmod(number_, 3)
        values = [value for _, value in points]
        panel = _Panel(
            x=46 + column * WIDTH / 3,
            y=18 + row * 115,
            width=WIDTH / 3 - 56,
            height=78,
            low=0,
            high=max(values) * 1.25 or 1.0,
        )
        parts += panel.axes(label(f"{title}: {written(values[-1])}"), [at for at, _ in points], written)
        places = panel.places(values)
        parts += [_line(places, "accent", 1.4)]
        parts += [_node("circle", "accent", cx=x, cy=y, r=1.7) for x, y in places]
    return [_svg(115 * -(-len(shown) // 3), parts)] if shown else []


def _svg(height: float, parts: Iterable[Markup]) -> Markup:
    start = Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img">').format(WIDTH, height)
    return start + Markup().join(parts) + Markup("</svg>")


def _text(
    x: float, y: float, text: str, tone: str = "muted", *, anchor: str = "start", size: float = 8
) -> Markup:
    return _node("text", tone, text, x=x, y=y, text_anchor=anchor, font_size=size)


def _line(places: Iterable[tuple[float, float]], tone: str, width: float = 0.6) -> Markup:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    style = Markup("fill: none; stroke: var(--{})").format(tone)
    return Markup('<polyline points="{}" stroke-width="{}" style="{}"/>').format(points, width, style)


def _node(name: str, tone: str, text: str = "", **attributes: float | str) -> Markup:
    """Return an element filled with a colour of the page; all text in it is escaped."""
    named = Markup()
    for key, value in attributes.items():
        written = f"{value:.1f}" if isinstance(value, float) else value
        named += Markup(' {}="{}"').format(key.replace("_", "-"), written)
    return Markup('<{0}{1} style="fill: var(--{2})">{3}</{0}>').format(name, named, tone, text)
