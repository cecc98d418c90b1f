"""What came of many requests, in little memory: counts, and latencies as a histogram. Pure.

A latency counts from when a request was due. One that failed counts as infinitely slow: it has no place among
the latencies, and is beyond all of them when a percentile is asked for.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from kvsync.testing.load.http.histogram import LatencyHistogram
from kvsync.testing.load.http.thresholds import Threshold
from kvsync.testing.results.history import Record
from kvsync.testing.traffic.service import LATE_S

ERRORS_KEPT = 10
"""Different errors that are kept; what comes after them is only counted."""


SUM = "sum"
"""The type of a record of many requests: what they add up to."""

_COUNTS = ("failed", "late", "failed_in_time", "crowded")


@dataclass(slots=True)
class RequestTally:
    """Requests of one kind in one phase.

    `late` left later than LATE_S after they were due, and `failed_in_time` failed though they were not late.
    `crowded` are late ones for which there was no place left among requests without an answer.
    """

    served: LatencyHistogram = field(default_factory=LatencyHistogram)
    failed: int = 0
    late: int = 0
    failed_in_time: int = 0
    crowded: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """All requests."""
        return self.served.count + self.failed

    def add(self, record: Record) -> None:
        """Count the record of a request."""
        is_late = float(str(record["late_s"])) > LATE_S
        self.late += is_late
        self.crowded += is_late and bool(record.get("crowded"))
        if record["type"] == "ok":
            self.served.add(float(str(record["latency_s"])))
            return
        self.failed += 1
        self.failed_in_time += not is_late
        error = f"{record['status'] or ''} {record['error']}".strip()
        if error in self.errors or len(self.errors) < ERRORS_KEPT:
            self.errors[error] += 1

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values, which `from_json` reads without a loss."""
        return {
            **{name: getattr(self, name) for name in _COUNTS},
            "served": self.served.to_json(),
            "errors": dict(self.errors),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Build one from its JSON."""
        counts = {name: int(value[name]) for name in _COUNTS}
        return cls(
            served=LatencyHistogram.from_json(value["served"]), errors=Counter(value["errors"]), **counts
        )

    def merge(self, other: "RequestTally") -> None:
        """Count also what another one has."""
        self.served.merge(other.served)
        self.failed += other.failed
        self.late += other.late
        self.failed_in_time += other.failed_in_time
        self.crowded += other.crowded
        self.errors += other.errors

    def quantile(self, share: float) -> float:
        """Return the latency (s) that this share does not exceed, by nearest rank; inf for a failure."""
        if not self.count:
            return math.nan
        rank = max(1, math.ceil(share * self.count - 1e-9))
        return self.served.at_rank(rank) if rank <= self.served.count else math.inf

    def measure(self, threshold: Threshold, seconds: float) -> float:
        """Return what a threshold asks for; nan without a sample. `seconds` is how long requests arrived."""
        match threshold.measure:
            case "errors":
                return self.failed / self.count if self.count else math.nan
            case "rate":
                return self.served.count / seconds if seconds and self.count else math.nan
            case "mean":
                return self.served.mean_s if self.served.count else self.quantile(1.0)
            case "max":
                return self.quantile(1.0)
        return self.quantile(threshold.percentile or 0.0)

    @classmethod
    def of(cls, every: Iterable["RequestTally"]) -> Self:
        """Return several as one."""
        whole = cls()
        for each in every:
            whole.merge(each)
        return whole


Tallies = Mapping[tuple[int, str], RequestTally]
"""By the number of the phase and the name of the request."""


def tallied(records: Iterable[Record], f: str = "request") -> dict[tuple[int, str], RequestTally]:
    """Count records of requests by phase and kind."""
    found: dict[tuple[int, str], RequestTally] = {}
    for record in records:
        if record["f"] == f:
            place = int(str(record["phase"])), str(record["request"])
            tally = found.setdefault(place, RequestTally())
            if record["type"] == SUM:
                tally.merge(RequestTally.from_json(record))
            else:
                tally.add(record)
    return found
