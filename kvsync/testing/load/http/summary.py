"""What a load was, in the numbers that reports show, and as Measurements and histograms for others. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from kvsync.testing.load.http.histogram import Histogram, log_of
from kvsync.testing.load.http.judgement import Offered, measured
from kvsync.testing.load.http.tally import Tally
from kvsync.testing.load.http.thresholds import Threshold
from kvsync.testing.results.measurement import Measurement
from kvsync.testing.results.outcome import Check

FILE = "load.json"
"""What the summary of a stage is called, in its folder of evidence."""

ALL = "all"

SHARES = (0.5, 0.9, 0.95, 0.99, 0.999)
_CURVE = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRow:
    """One kind of request, or all, in one phase: times in seconds, None for never (too many failed).

    `offered_per_s` is the rate that was asked for, None where that is not known; `rate_per_s` that at which
    requests were served; `errors` are the most common ones with their counts.
    """

    phase: str
    request: str
    offered_per_s: float | None
    rate_per_s: float
    count: int
    failed: int
    late: int
    latencies_s: Sequence[float | None]
    slowest_s: float | None
    errors: Mapping[str, int]
    broken: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSummary:
    """A load stage: its thresholds with how they were judged, its numbers, and a curve of each request.

    A curve has points (share of requests, seconds), counted from when requests were due or sent.
    """

    stage: str
    checks: Sequence[Mapping[str, str]]
    rows: Sequence[LoadRow]
    curves: Mapping[str, Sequence[tuple[float, float]]]
    counted_from: str = "due"

    @classmethod
    def of(cls, stage: str, offered: Offered, checks: Sequence[Check]) -> Self:
        """Sum a load up."""
        every = offered.tally(offered.numbers(""))
        names = sorted({name for _, name in offered.tallies})
        curves = {name: _curve(offered.tally(offered.numbers(""), name)) for name in names}
        if len(names) > 1:
            curves = {ALL: _curve(every), **curves}
        return cls(
            stage=stage,
            checks=[
                {"name": each.name, "kind": each.kind, "detail": each.detail, **each.properties}
                for each in checks
            ],
            rows=list(_rows(offered, names)),
            curves={name: curve for name, curve in curves.items() if curve},
            counted_from=offered.counted_from,
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Build a summary from what `to_json` returned; KeyError or TypeError for anything else."""
        return cls(**{**value, "rows": [LoadRow(**each) for each in value["rows"]]})


def _rows(offered: Offered, names: Sequence[str]) -> Iterator[LoadRow]:
    for number, phase in enumerate(offered.phases):
        here = [name for name in names if (number, name) in offered.tallies]
        end = (offered.ends or {}).get(number)
        for name in [*([ALL] if len(here) > 1 else []), *here]:
            tally = offered.tally([number], "" if name == ALL else name)
            yield LoadRow(
                phase=f"{phase.name} {phase.rate_per_s:g}/s" if phase.climbs else phase.name,
                request=name,
                offered_per_s=end.intended / phase.seconds
                if end and name in (ALL, *here[: len(here) == 1])
                else None,
                rate_per_s=tally.served.count / phase.seconds,
                count=tally.count,
                failed=tally.failed,
                late=tally.late,
                latencies_s=[_finite(tally.quantile(share)) for share in SHARES],
                slowest_s=_finite(tally.quantile(1.0)),
                errors=dict(tally.errors.most_common(3)),
                broken=end.broken if end else (),
            )


def _curve(tally: Tally) -> list[tuple[float, float]]:
    """Return points of the latencies up to what the number of requests can tell."""
    shares = [share for share in _CURVE if tally.count * (1 - share) >= 1]
    points = [(share, tally.quantile(share)) for share in shares]
    return [(share, latency) for share, latency in points if math.isfinite(latency)]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def measurements(stage: str, offered: Offered, thresholds: Sequence[Threshold]) -> Iterator[Measurement]:
    """Yield what each threshold measured, with its limit as the goal, and the usual numbers of each phase.

    What is not a finite number, for too many requests failed, is left out.
    """
    for each in thresholds:
        value, asked = measured(offered, each)
        if not math.isfinite(value):
            continue
        yield Measurement(
            name=stage,
            metric=each.text.partition(each.sign)[0].strip(),
            value=_shown(each.measure, value),
            unit=_unit(each.measure),
            samples=asked.count,
            better="lower" if each.sign.startswith("<") else "higher",
            goal=_shown(each.measure, each.limit),
        )
    for climb in offered.climbs():
        rate, numbers = climb.rate_per_s, offered.numbers(climb.name)
        if math.isfinite(rate):
            count = offered.tally(numbers).count
            yield Measurement(
                name=stage,
                metric=f"highest rate of {climb.name}",
                value=rate,
                unit="1/s",
                samples=count,
                better="higher",
            )
    for number, phase in enumerate(offered.phases):
        tally = offered.tally([number])
        if phase.climbs or not tally.served.count:
            continue
        parameters = {"phase": phase.name}
        for metric, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            if math.isfinite(value := tally.quantile(share)):
                yield Measurement(
                    name=stage,
                    metric=metric,
                    value=1e3 * value,
                    unit="ms",
                    samples=tally.count,
                    parameters=parameters,
                )


def _shown(measure: str, value: float) -> float:
    """Return a value in the unit of measurements."""
    return {"errors": 100 * value, "rate": value}.get(measure, 1e3 * value)


def _unit(measure: str) -> str:
    return {"errors": "%", "rate": "1/s"}.get(measure, "ms")


def histogram_log(offered: Offered) -> str:
    """Return a log of HdrHistogram with the latencies of each kind of request in each phase."""
    found: dict[str, tuple[float, float, Histogram]] = {}
    names, start = sorted({name for _, name in offered.tallies}), 0.0
    for number, phase in enumerate(offered.phases):
        for name in names:
            served = offered.tally([number], name).served
            if served.count:
                step = f"@{phase.rate_per_s:g}" if phase.climbs else ""
                found[f"{phase.name}{step}/{name}"] = start, phase.seconds, served
        start += phase.seconds
    return log_of(found)
