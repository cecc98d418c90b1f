"""Thresholds of a load as people write them: `p95 of read in spike < 50 ms`, `errors < 5 %`. Pure.

```
MEASURE [of REQUEST] [in PHASE] < LIMIT      # also <=, > and >=
```

MEASURE is `p50`, `p99.9` and so on, `mean` or `max`, which are latencies and take us, ms, s or m; `errors`, a
share in %; or `rate`, the requests that are served in a second. Without a REQUEST all count together, without
a PHASE all phases, those that climb only if there are no others. Requests arrive at random (a Poisson
process): of N that are planned, about the square root of N come more or fewer. Names with spaces are quoted:
`p95 of "GET /a b" < 1 s`.
"""

import math
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

_NAME = r"""(?:"[^"]+"|'[^']+'|[^\s"'<>=]+)"""
_WHOLE = re.compile(
    rf"\s*(?P<measure>[^\s<>=]+)(?:\s+of\s+(?P<request>{_NAME}))?(?:\s+in\s+(?P<phase>{_NAME}))?"
    r"\s*(?P<sign><=|>=|<|>)\s*(?P<limit>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>\S*)\s*"
)
_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]{1,3})?|100)")

_TIMES: Mapping[str, float] = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_SHARES: Mapping[str, float] = {"%": 0.01}
_RATES: Mapping[str, float] = {"": 1.0, "/s": 1.0}
_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OTHERS = ("mean", "max", "errors", "rate")

Sign = Literal["<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A limit in s, 1/s or a share, for a `measure` such as p95 of a request in a phase ("" for all)."""

    text: str
    measure: str
    request: str
    phase: str
    sign: Sign
    limit: float

    @property
    def percentile(self) -> float | None:
        """Which share of the latencies is below the measure: 0.95 for p95; None for other measures."""
        found = _PERCENTILE.fullmatch(self.measure)
        return float(found[1]) / 100 if found else None

    @property
    def is_latency(self) -> bool:
        """Whether it is measured in seconds."""
        return self.measure not in ("errors", "rate")

    def breaks_climb(self, phase: str) -> bool:
        """Say whether a climb of this name ends where it does not hold; a rate says nothing of one step."""
        return self.measure != "rate" and self.phase in ("", phase)

    def holds(self, value: float) -> bool:
        """Say whether a measured value keeps it; what is not a number does not."""
        return _SIGNS[self.sign](value, self.limit)

    def shown(self, value: float) -> str:
        """Return a value as people read it."""
        if self.measure == "errors":
            return f"{100 * value:.2f} %"
        if self.measure == "rate":
            return f"{value:.1f}/s"
        return seconds(value)


def seconds(value: float) -> str:
    """Return a time in the unit that suits it."""
    if math.isinf(value):
        return "never (too many failed)"
    if value >= 1:
        return f"{value:.2f} s"
    return f"{1e3 * value:.1f} ms" if value >= 1e-3 else f"{1e6 * value:.0f} us"


def parse(text: str) -> Threshold:
    """Return what a threshold says; raises ValueError with what is wrong with it and how it is mended."""
    found = _WHOLE.fullmatch(text)
    if not found:
        raise ValueError(
            f"{text!r} is not a threshold; write one such as "
            '"p95 of read < 10 ms", "errors < 5 %" or "rate > 1000"'
        )
    measure, unit = found["measure"], found["unit"]
    if measure not in _OTHERS and not _PERCENTILE.fullmatch(measure):
        meant = get_close_matches(measure, _OTHERS, n=1)
        mend = (
            f"is {meant[0]!r} meant?"
            if meant
            else "there are: p95 and other percentiles, mean, max, errors, rate"
        )
        raise ValueError(f"{text!r}: there is no measure {measure!r}; {mend}")
    units, what, example = _units(measure)
    if unit not in units:
        said = f"there is no unit {unit!r} of {what}" if unit else f"{what} needs a unit"
        raise ValueError(f"{text!r}: {said}; write it such as {example}")
    sign, limit = found["sign"], float(found["limit"]) * units[unit]
    if measure != "rate" and sign.startswith(">"):
        raise ValueError(
            f"{text!r}: the worse it is, the better it would hold; write {sign.replace('>', '<')}"
        )
    if measure == "errors" and limit >= 1:
        raise ValueError(f"{text!r}: it holds whatever fails; write a share below 100 %")
    return Threshold(
        text=" ".join(text.split()),
        measure=measure,
        request=_unquoted(found["request"]),
        phase=_unquoted(found["phase"]),
        sign=sign,  # type: ignore[arg-type]  # the pattern says so
        limit=limit,
    )


def wrong_names(
    threshold: Threshold, requests: Collection[str] | None, phases: Collection[str]
) -> Iterator[str]:
    """Yield what a threshold names that there is not; `requests` is None where they are not known."""
    for what, name, known in (("request", threshold.request, requests), ("phase", threshold.phase, phases)):
        if not name or known is None or name in known:
            continue
        close = get_close_matches(name, list(known), n=1)
        mend = f"is {close[0]!r} meant?" if close else f"there are: {', '.join(known) or 'none'}"
        yield f"{threshold.text!r}: there is no {what} {name!r}; {mend}"


def _units(measure: str) -> tuple[Mapping[str, float], str, str]:
    match measure:
        case "errors":
            return _SHARES, "a share", "5 %"
        case "rate":
            return _RATES, "a rate", "1000 or 1000/s"
    return _TIMES, "a time", "10 ms: us, ms, s or m"


def _unquoted(name: str | None) -> str:
    return (name or "").strip("\"'")
