"""How requests were served: what became of each, and the numbers of many. Pure.

A latency counts from when its request was due, and a failure has one, too. The control are requests of the
same kind past the gateway to a pod of its own: it tells how busy the machine was.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from kvsync.testing.results.history import Record
from kvsync.testing.results.measurement import quantile

LATE_S = 0.25
"""What is sent later than this after it was due is late. Measured: 0.01 s on two quiet cores."""
LATE_SHARE = 0.05
"""This share of the requests may be late; their wait is in their latencies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request of a stream `f`: when it was due (seconds), how late it was sent, and what came of it."""

    f: str
    due: float
    late_s: float
    latency_s: float
    ok: bool
    error: str = ""

    @classmethod
    def of(cls, record: Record, began: float = 0.0) -> Self:
        """Read the record of a request; `due` counts from `began`, a moment of the monotonic clock."""
        return cls(
            f=str(record["f"]),
            due=float(str(record["due"])) - began,
            late_s=float(str(record["late_s"])),
            latency_s=float(str(record["latency_s"])),
            ok=record["type"] == "ok",
            error=f"{record['status'] or ''} {record['error']}".strip(),
        )

    @property
    def is_late(self) -> bool:
        """Whether it was sent too late for what was meant to be offered."""
        return self.late_s > LATE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How requests were served; times are in seconds, the rate counts successes, `late` those sent too late.

    What needs a request is not a number where there was none.
    """

    requests: int
    availability: float
    rate_per_s: float
    p95_s: float
    slowest_s: float
    control_p95_s: float
    late: int = 0

    @property
    def was_offered(self) -> bool:
        """Whether nearly all requests were sent when they were due."""
        return self.late <= LATE_SHARE * self.requests

    @property
    def not_offered(self) -> str:
        """What to say when it was not."""
        return f"the load was not offered: {self.late} of {self.requests} requests left late"

    @classmethod
    def of(cls, samples: Sequence[Sample], control: Sequence[Sample]) -> Self:
        """Sum up requests; a control that fails was not quick, however soon it did."""
        began = min((each.due for each in samples), default=math.nan)
        ended = max((each.due + each.latency_s for each in samples), default=math.nan)
        succeeded = sum(each.ok for each in samples)
        return cls(
            requests=len(samples),
            availability=succeeded / len(samples) if samples else math.nan,
            rate_per_s=succeeded / (ended - began),
            p95_s=quantile([each.latency_s for each in samples], 0.95),
            slowest_s=max((each.latency_s for each in samples), default=math.nan),
            control_p95_s=quantile([each.latency_s if each.ok else math.inf for each in control], 0.95),
            late=sum(each.is_late for each in samples),
        )
