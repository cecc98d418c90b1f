"""The steady state: how requests are served without a fault, and how much of that a fault may take.

An experiment goes: steady state, inject, prove the effect, observe, stop, prove that the effect is gone,
recover, compare the index with the pods. While the fault acts, against the same run's baseline:

- availability is at least 99 %, and errors increase by less than one point;
- requests are served at 10 % of the baseline's rate or more;
- p95 is at most twice the baseline's, or P95_FLOOR_S. It is always recorded, and judged only with
  P95_SAMPLES requests both before and during the fault that left when they were due, for faults that do not
  slow requests by their nature, and while the machine is quiet: the control, requests of the same kind past
  the gateway to a pod without the fault, tells.

Where the control itself is as slow as a pod that gateways give up, or requests could not even be sent when
they were due, limits are broken without any fault, and a broken one decides nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self, cast

from kvsync.testing.faults.fault import (
    Bandwidth,
    Corruption,
    CpuStress,
    DiskLatency,
    Fault,
    HttpDelay,
    Latency,
    MemoryStress,
    PacketLoss,
    from_json,
    to_json,
)
from kvsync.testing.results.history import History, Record
from kvsync.testing.results.verdicts import Inconclusive
from kvsync.testing.traffic.service import Sample, Service

AVAILABILITY = 0.99
ERROR_INCREASE = 0.01
RATE_SHARE = 0.1
P95_FACTOR = 2.0
P95_FLOOR_S = 0.5
"""No request that waited for a silent pod is this quick: the time limits of gateways are seconds."""
P95_SAMPLES = 200
"""Ten of this many requests are slower than their p95; with fewer it is down to luck."""
QUIET_S = 0.15
"""A machine on which the control's p95 is longer is busy with something else. Measured on two cores: 0.06 s
when it is quiet, up to 2 s while others build, and then up to four times as long through the gateway.
"""
CONTROL_LIMIT_S = 1.0
"""The gateway's health probes wait this long; a slower pod counts as down."""
FEWEST_REQUESTS = 20
"""Fewer requests say nothing about any share."""

SlowingFault = (
    Latency | HttpDelay | PacketLoss | Corruption | Bandwidth | CpuStress | MemoryStress | DiskLatency
)
"""Faults that slow a pod's answers without failing them, so that a gateway is right to keep asking it.

Damaged packets are sent again, like lost ones. A fault that silences or ends a pod is not among them: the
gateway can go to another one, and has to once a few requests have told it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """What a fault did to the service."""

    fault: Fault
    baseline: Service
    during: Service

    @property
    def error_increase(self) -> float:
        """By how much the share of failed requests grew."""
        return self.baseline.availability - self.during.availability

    @property
    def rate_share(self) -> float:
        """The rate of successes as a share of the baseline's."""
        return self.during.rate_per_s / self.baseline.rate_per_s

    @property
    def p95_ratio(self) -> float:
        """How many times the baseline's p95 it was."""
        return self.during.p95_s / self.baseline.p95_s

    @property
    def p95_excuse(self) -> str:
        """Why p95 is not judged; empty when it is."""
        if isinstance(self.fault, SlowingFault):
            return "the fault slows requests by its nature"
        if (fewest := min(self.baseline.requests, self.during.requests)) < P95_SAMPLES:
            return f"{fewest} requests are too few, {P95_SAMPLES} are needed"
        for each in (self.baseline, self.during):
            if not each.was_offered:
                return each.not_offered
        before_s, meanwhile_s = self.baseline.control_p95_s, self.during.control_p95_s
        if not all(each_s <= QUIET_S for each_s in (before_s, meanwhile_s)):  # also without a control
            taken = f"{1000 * before_s:.0f} ms before and {1000 * meanwhile_s:.0f} ms during the fault"
            return f"the machine was busy: the control took {taken}"
        return ""

    def judge(self, *others: str) -> None:
        """Fail when the fault broke a limit, or when there are `others`, found elsewhere.

        Raises AssertionError with each of them, and Inconclusive when the machine was too busy for any limit.
        """
        if broken := "; ".join([*self.excesses(), *others]):
            if self.during.control_p95_s > CONTROL_LIMIT_S:
                busy = f"the control took {self.during.control_p95_s:.1f} s (p95)"
                raise Inconclusive(f"the machine was too busy, {busy}: {broken}")
            if not self.during.was_offered:
                raise Inconclusive(f"{self.during.not_offered}: {broken}")
            raise AssertionError(broken)

    def record(self, history: History) -> None:
        """Write down what reports show of it."""
        history.append(
            f="service",
            type="fail" if self.excesses() else "ok",
            requests=self.during.requests,
            availability=self.during.availability,
            error_increase=self.error_increase,
            p95_s=self.during.p95_s,
            baseline_p95_s=self.baseline.p95_s,
            p95_excuse=self.p95_excuse,
            broken=self.excesses(),
            fault=to_json(self.fault),
            baseline=asdict(self.baseline),
            during=asdict(self.during),
        )

    @classmethod
    def recorded(cls, record: Record) -> Self:
        """Return what `record` wrote down. Raises KeyError or TypeError for records without the numbers."""
        baseline, during = (cast("dict[str, float]", record[name]) for name in ("baseline", "during"))
        return cls(
            fault=from_json(cast("dict[str, object]", record["fault"])),
            baseline=Service(**baseline),  # type: ignore[arg-type]  # one of the numbers is an int
            during=Service(**during),  # type: ignore[arg-type]  # as above
        )

    @property
    def p95_limit_s(self) -> float:
        """What the p95 may be."""
        return max(P95_FLOOR_S, P95_FACTOR * self.baseline.p95_s)

    def excesses(self) -> list[str]:
        """Return in words every limit that the fault broke."""
        during, found = self.during, list[str]()
        if during.availability < AVAILABILITY:
            found.append(f"availability was {during.availability:.2%}, below 99 %")
        if self.error_increase >= ERROR_INCREASE:
            found.append(f"errors increased by {self.error_increase:.2%}, not by less than 1 %")
        if self.rate_share < RATE_SHARE:
            found.append(f"the rate fell to {self.rate_share:.1%} of the baseline, below 10 %")
        if not self.p95_excuse and during.p95_s > self.p95_limit_s:
            found.append(f"p95 was {1000 * during.p95_s:.0f} ms, above {1000 * self.p95_limit_s:.0f} ms")
        return found


def observed(samples: Sequence[Sample], control: Sequence[Sample]) -> Service:
    """Sum up the requests that a fault is judged by.

    Raises Inconclusive when there are fewer than FEWEST_REQUESTS.
    """
    if len(samples) < FEWEST_REQUESTS:
        raise Inconclusive(f"{len(samples)} requests say nothing; at least {FEWEST_REQUESTS} are needed")
    return Service.of(samples, control)


def require_steady(baseline: Service) -> None:
    """Raise Inconclusive when not even the baseline is served well: then a fault cannot be judged."""
    if baseline.availability < AVAILABILITY:
        raise Inconclusive(f"no steady state: without a fault availability was {baseline.availability:.2%}")
