"""How a load was served: one phase at a time, judged against the same run only.

Rules:

1. Every latency counts from when its request was due.
2. A load that was not offered decides nothing: requests that were never sent, or left late, are counted, and
   too many of them make the verdict inconclusive. A phase without requests is void, never passed.
3. Latencies are measurements with goals; what fails a run is a share of errors, or a ratio of two phases of
   the run while the control was quick.

Reason for the third: on a machine that others share, a wall-clock limit says what the others do.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kvsync.testing.benchmarks.gauge import Gauge
from kvsync.testing.load.plan import Phase
from kvsync.testing.results.measurement import quantile
from kvsync.testing.results.verdicts import Inconclusive, Void
from kvsync.testing.traffic.service import LATE_SHARE, Sample, Service
from kvsync.testing.traffic.steady import (
    AVAILABILITY,
    FEWEST_REQUESTS,
    P95_FACTOR,
    P95_FLOOR_S,
    P95_SAMPLES,
    QUIET_S,
)

FEWEST_FOR_RATIO = 40
"""With this many samples the median is not down to luck."""
GOALS_S = {"p50": 0.05, "p95": 0.1, "p99": 0.2}
"""Of answers for which a simulated pod itself takes 10 to 15 ms, on two quiet cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The requests of one phase; times are in seconds.

    `intended` requests were due, `samples` are those that were sent and answered, and `control`
    those of the control.
    """

    phase: Phase
    intended: int
    samples: Sequence[Sample]
    control: Sequence[Sample]

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return sum(not each.ok for each in self.samples)

    @property
    def service(self) -> Service:
        """The numbers of it."""
        return Service.of(self.samples, self.control)

    @property
    def lost(self) -> int:
        """Requests that were due and of which nothing is known."""
        return self.intended - len(self.samples)

    @property
    def late(self) -> int:
        """Requests that were sent late."""
        return sum(each.is_late for each in self.samples)

    @property
    def rate_per_s(self) -> float:
        """The rate at which requests were sent on time."""
        return (len(self.samples) - self.late) / self.phase.seconds

    def latency_s(self, share: float) -> float:
        """Return the latency that no more than this share of the requests exceeds, counting from when due."""
        return quantile([each.latency_s for each in self.samples], share)

    @property
    def is_held_up(self) -> bool:
        """Whether requests took too long after they were sent, however late that was."""
        return quantile([each.latency_s - each.late_s for each in self.samples], 0.95) > GOALS_S["p95"]

    @property
    def reaches_goals(self) -> bool:
        """Whether it was served as well as it should be: the p95 within its goal, and nearly all of it."""
        return self.service.availability >= AVAILABILITY and self.service.p95_s <= GOALS_S["p95"]

    def record(self, gauge: Gauge) -> None:
        """Record what is measured of it."""
        count, name = len(self.samples), self.phase.name
        rate = (1 - LATE_SHARE) * self.intended / self.phase.seconds
        gauge.record(
            f"{name}: sent on time", self.rate_per_s, "1/s", samples=count, better="higher", goal=rate
        )
        gauge.record(
            f"{name}: availability",
            self.service.availability,
            "share",
            samples=count,
            better="higher",
            goal=AVAILABILITY,
        )
        for metric, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            gauge.record(
                f"{name}: {metric}",
                1e3 * self.latency_s(share),
                "ms",
                samples=count,
                goal=1e3 * GOALS_S[metric],
            )


def served(
    phases: Sequence[Phase], due: Iterable[float], samples: Iterable[Sample], control: Iterable[Sample]
) -> list[Served]:
    """Sort what was due and what was sent by phase."""
    intended, sent, beside, start = list(due), list(samples), list(control), 0.0
    found = []
    for phase in phases:
        end = start + phase.seconds
        found.append(
            Served(
                phase=phase,
                intended=sum(start <= each < end for each in intended),
                samples=[each for each in sent if start <= each.due < end],
                control=[each for each in beside if start <= each.due < end],
            )
        )
        start = end
    return found


def doubts(phases: Iterable[Served]) -> list[str]:
    """Say why nothing can be concluded from a load; [] when something can.

    Raises Void for a phase of which nothing was sent.
    """
    every = list(phases)
    for each in every:
        if not each.samples:
            raise Void(f"{each.phase.name}: none of {each.intended} requests was sent")
    intended, late, lost = (
        sum(getattr(each, name) for each in every) for name in ("intended", "late", "lost")
    )
    if lost or late > LATE_SHARE * intended:
        return [f"the load was not offered: of {intended} requests {late} left late and {lost} were lost"]
    return [f"{intended} requests say nothing"] if intended < FEWEST_REQUESTS else []


def failures(phases: Iterable[Served]) -> list[str]:
    """Say that too many requests of a load failed, and the first error of each phase; [] otherwise."""
    every = list(phases)
    failed, sent = sum(each.failed for each in every), sum(len(each.samples) for each in every)
    if failed <= (1 - AVAILABILITY) * sent:
        return []
    firsts = ((each, next((one.error for one in each.samples if not one.ok), "")) for each in every)
    errors = [f"{each.phase.name} {each.failed}: {error}" for each, error in firsts if each.failed]
    return [f"{failed} of {sent} requests failed, more than 1 % ({'; '.join(errors)})"]


def slower(before: Served, after: Served) -> list[str]:
    """Say that requests stayed slow after what came between two phases of one rate; [] if they did not.

    The p95 tells, or the median when there are too few requests for a p95. Raises Inconclusive when there are
    too few for a median, too.
    """
    if (fewest := min(len(before.samples), len(after.samples))) < FEWEST_FOR_RATIO:
        raise Inconclusive(f"{fewest} requests are too few to compare, {FEWEST_FOR_RATIO} are needed")
    share = 0.95 if fewest >= P95_SAMPLES else 0.5
    taken_s, limit_s = after.latency_s(share), max(P95_FLOOR_S, P95_FACTOR * before.latency_s(share))
    words = f"{after.phase.name}: p{100 * share:.0f} stayed at {1e3 * taken_s:.0f} ms"
    return [f"{words}, above {1e3 * limit_s:.0f} ms"] if taken_s > limit_s else []


def judge(phases: Sequence[Served], broken: Sequence[str]) -> None:
    """Fail when something is broken and the machine was quiet.

    The control tells whether it was, in the phases of the lowest rate: in others the load itself keeps the
    machine busy. Raises AssertionError saying what is broken, Inconclusive when the load was not offered or
    the machine was busy, and Void for a phase without requests.
    """
    doubtful = doubts(phases)
    lowest = min(each.phase.rate_per_s for each in phases)
    control = [one for each in phases if each.phase.rate_per_s == lowest for one in each.control]
    control_s = Service.of([], control).control_p95_s
    if broken and control_s <= QUIET_S:
        raise AssertionError("; ".join([*broken, *doubtful]))
    if broken:
        doubtful += [f"the machine was busy, the control took {1e3 * control_s:.0f} ms (p95)", *broken]
    if doubtful:
        raise Inconclusive("; ".join(doubtful))
