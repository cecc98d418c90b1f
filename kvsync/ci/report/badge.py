"""A badge: two words side by side as a small SVG, without a service and without a font of its own. Pure."""

import unicodedata
from html import escape

from kvsync.ci.report.plain import cut, one_line
from kvsync.testing.results.outcome import Outcome

COLOURS = {Outcome.PASSED: "#2e7d32", Outcome.UNKNOWN: "#8a6d00", Outcome.FAILED: "#c62828", None: "#666"}
"""White text on each has a contrast of 4.5 and more (WCAG AA)."""

LONGEST = 60

CHARACTER, MARGIN = 7, 10
"""Pixels. Texts are stretched to them, since every machine has another font."""

_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img"\
 aria-label="{label}: {message}">\
<title>{title}</title>\
<rect width="{width}" height="20" rx="3" fill="{colour}"/>\
<path fill="#444" d="M3 0h{bend}v20H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3"/>\
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">\
<text x="5" y="14" textLength="{label_text}">{label}</text>\
<text x="{at}" y="14" textLength="{message_text}">{message}</text>\
</g></svg>
"""


def badge(label: str, message: str, outcome: Outcome | None, *, title: str = "") -> str:
    """Return an SVG; `outcome` gives the colour, None is grey. Of each text at most 60 characters show."""
    label, message = (cut(one_line(text), LONGEST) for text in (label, message))
    left, right = (_pixels(text) + MARGIN for text in (label, message))
    return _SVG.format(
        width=left + right,
        bend=left - 3,
        at=left + 5,
        label_text=left - MARGIN,
        message_text=right - MARGIN,
        colour=COLOURS[outcome],
        label=escape(label),
        message=escape(message),
        title=escape(cut(one_line(title or f"{label}: {message}"), 4 * LONGEST)),
    )


def _pixels(text: str) -> int:
    """Return how wide a text is to be shown; characters of East Asia take twice as much."""
    return sum(CHARACTER * (2 if unicodedata.east_asian_width(each) in "WF" else 1) for each in text)
