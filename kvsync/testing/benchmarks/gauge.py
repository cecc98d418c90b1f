"""How long work takes, on the wall clock and of this thread's CPU time.

Rules:

1. What occupies a processor is told by its CPU time, of which the minimum of several rounds is stable; what
   a user waits for is told by the wall clock.
2. Two ways of doing one thing are compared side by side, in turns, never with a number from another run.
3. A number without enough samples is inconclusive, not a number.

Reasons: on a shared two-core machine the spread of identical code was 24 to 51 % on the wall clock and 2.6 to
3.6 % of CPU time; a 10 % limit against a stored wall time raised false alarms in every third run (measured).
"""

import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from kvsync.codec import decode
from kvsync.events import Source
from kvsync.index import PrefixIndex
from kvsync.testing.results.measurement import Measurement, Measurements, quantiles
from kvsync.testing.results.verdicts import Inconclusive

LEAST_SAMPLES = 500
"""Below this a P99 is decided by the five slowest samples."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What one round of work took, in seconds."""

    wall_s: float
    cpu_s: float


def timed(
    work: Callable[[], object],
    *,
    wall: Callable[[], float] = time.perf_counter,
    cpu: Callable[[], float] = time.thread_time,
) -> Timing:
    """Do the work once, after the garbage of others is collected."""
    gc.collect()
    wall_before, cpu_before = wall(), cpu()
    work()
    cpu_s = cpu() - cpu_before
    return Timing(wall() - wall_before, cpu_s)


def side_by_side(*works: Callable[[], object], rounds: int) -> list[list[Timing]]:
    """Do each work once in every round, in alternating order; returns the timings of each work."""
    timings: list[list[Timing]] = [[] for _ in works]
    turns = list(zip(works, timings, strict=True))
    for _ in range(rounds):
        for work, taken in turns:
            taken.append(timed(work))
        turns.reverse()
    return timings


def feed(index: PrefixIndex, source: Source, payloads: Iterable[bytes]) -> None:
    """Apply batches, as the event path does between its socket and its index."""
    for payload in payloads:
        if index.apply_payloads(source, (payload,)) is None:
            index.apply_batch(source, decode(payload).events)


@dataclass(frozen=True, slots=True)
class Gauge:
    """Records what is measured of `name` under the conditions `parameters`."""

    measurements: Measurements
    name: str
    parameters: Mapping[str, str | int | float | bool]

    def record(
        self,
        metric: str,
        value: float,
        unit: str,
        *,
        samples: int,
        better: Literal["lower", "higher"] = "lower",
        goal: float | None = None,
    ) -> None:
        """Record one number."""
        self.measurements.add(
            Measurement(
                name=self.name,
                metric=metric,
                value=value,
                unit=unit,
                samples=samples,
                better=better,
                goal=goal,
                parameters=self.parameters,
            )
        )

    def record_cost(self, what: str, timings: Sequence[Timing], operations: int) -> None:
        """Record what one of `operations` takes in µs: the least CPU time and the median wall time."""
        cpu = min(each.cpu_s for each in timings) / operations * 1e6
        wall = median(each.wall_s for each in timings) / operations * 1e6
        self.record(f"cpu_{what}_min", cpu, "us", samples=len(timings))
        self.record(f"wall_{what}_median", wall, "us", samples=len(timings))

    def record_rate(
        self, what: str, timings: Sequence[Timing], operations: int, *, goal: float | None = None
    ) -> None:
        """Record how many operations a second: by the least CPU time and by the median wall time."""
        cpu = operations / min(each.cpu_s for each in timings)
        wall = operations / median(each.wall_s for each in timings)
        self.record(f"cpu_{what}_per_s_max", cpu, "1/s", samples=len(timings), better="higher")
        self.record(
            f"wall_{what}_per_s_median", wall, "1/s", samples=len(timings), better="higher", goal=goal
        )

    def record_latencies(
        self, what: str, rounds: Sequence[Sequence[float]], *, p99_goal_us: float | None = None
    ) -> None:
        """Record P50, P99 (medians of the rounds) and the maximum of wall times given in seconds.

        Raises Inconclusive when there are too few of them.
        """
        count = sum(map(len, rounds))
        if count < LEAST_SAMPLES:
            raise Inconclusive(f"{self.name}: {count} samples of {what}, a P99 needs {LEAST_SAMPLES}")
        of_rounds = [quantiles(each) for each in rounds]
        for metric, value, goal in (
            ("p50", median(each["p50"] for each in of_rounds), None),
            ("p99", median(each["p99"] for each in of_rounds), p99_goal_us),
            ("max", max(each["max"] for each in of_rounds), None),
        ):
            self.record(f"wall_{what}_{metric}", value * 1e6, "us", samples=count, goal=goal)

    def record_ratio(self, metric: str, numerator: Sequence[Timing], denominator: Sequence[Timing]) -> None:
        """Record a ratio of CPU times: the median of the ratios of rounds that were done side by side."""
        ratios = [above.cpu_s / below.cpu_s for above, below in zip(numerator, denominator, strict=True)]
        self.record(f"cpu_{metric}", median(ratios), "ratio", samples=len(ratios))
