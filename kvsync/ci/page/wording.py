"""Numbers and times as people read them."""

import math


def duration(seconds: float) -> str:
    """Write a duration for people, such as `20 µs`, `850 ms`, `12.4 s`, `3 min 5 s` or `2 h 10 min`."""
    if seconds == 0:
        return "0 s"
    if abs(seconds) < 0.0009995:
        return f"{seconds * 1e6:.3g} µs"
    if abs(seconds) < 0.9995:
        return f"{seconds * 1000:.3g} ms"
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
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def quantity(value: float, unit: str) -> str:
    """Write a number and its unit for people; seconds as a duration."""
    return duration(value) if unit == "s" and math.isfinite(value) else f"{number(value)} {unit}".rstrip()


LABEL_LENGTH = 48


def label(text: str) -> str:
    """Return text that is safe and short enough for a label of a chart."""
    shown = "".join(char for char in text if char.isprintable())
    return shown if len(shown) <= LABEL_LENGTH else f"{shown[: LABEL_LENGTH - 1]}…"
