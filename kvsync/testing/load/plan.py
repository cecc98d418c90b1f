"""What is offered to a cluster, and for how long: every duration and rate of the load stages.

Arrivals are a Poisson process that does not wait for earlier requests to be answered (an open model): a
system that stalls has as many requests waiting as real users would have sent. All of the full profile takes
3 h 35 min; the times are the customary ones: basic 25 min, spike 10 min, stress up to 60 min, soak 2 h.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, cycle

from kvsync.testing.traffic.trace import TraceRequest, generate

CONTENTS = 1000
"""Different requests, which are repeated: together they have several times the blocks that pods can hold."""


PASSAGES = ("warm-up", "settling")
"""Phases in which nothing is measured: they bring the system into the state of the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A time in which requests arrive at one rate, or at one that goes evenly `to_per_s`.

    Phases that climb are steps, of which a sender leaves out those that would follow a broken limit.
    """

    name: str
    seconds: float
    rate_per_s: float
    to_per_s: float | None = None
    climbs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """Phases one after the other, and the events that each pod announces besides those of the requests.

    The gateway is looked at every `interval_s`. In a soak one pod changes every `change_s`.
    """

    phases: Sequence[Phase]
    events_per_s: float
    interval_s: float
    change_s: float = 0.0

    @property
    def starts(self) -> list[float]:
        """Return when each phase starts, and finally when all of it ends, in seconds from the beginning."""
        return list(accumulate((phase.seconds for phase in self.phases), initial=0.0))


def _phases(*phases: tuple[str, float, float]) -> tuple[Phase, ...]:
    return tuple(Phase(name=name, seconds=seconds, rate_per_s=rate) for name, seconds, rate in phases)


def _steps(rates: Sequence[int], seconds: float) -> tuple[Phase, ...]:
    return _phases(*((f"{rate}/s", seconds, rate) for rate in rates))


PLANS: Mapping[str, Mapping[str, LoadPlan]] = {
    "basic": {
        "quick": LoadPlan(
            phases=_phases(("warm-up", 1, 20), ("base", 5, 20)), events_per_s=50, interval_s=0.5
        ),
        "full": LoadPlan(
            phases=_phases(("warm-up", 60, 40), ("base", 1440, 40)), events_per_s=300, interval_s=5
        ),
    },
    "spike": {
        "quick": LoadPlan(
            phases=_phases(
                ("warm-up", 1, 15),
                ("before", 5, 15),
                ("spike", 1, 150),
                ("settling", 2, 15),
                ("after", 5, 15),
            ),
            events_per_s=20,
            interval_s=0.5,
        ),
        "full": LoadPlan(
            phases=_phases(
                ("warm-up", 30, 40),
                ("before", 180, 40),
                ("spike", 60, 400),
                ("settling", 30, 40),
                ("after", 300, 40),
            ),
            events_per_s=100,
            interval_s=5,
        ),
    },
    "stress": {
        "quick": LoadPlan(phases=_steps([50, 100, 200, 400], 1), events_per_s=20, interval_s=0.5),
        "full": LoadPlan(phases=_steps(range(50, 1451, 50), 120), events_per_s=100, interval_s=5),
    },
    "soak": {
        "quick": LoadPlan(
            phases=_phases(("warm-up", 2, 20), ("soak", 12, 20)),
            events_per_s=20,
            interval_s=0.5,
            change_s=3,
        ),
        "full": LoadPlan(
            phases=_phases(("warm-up", 600, 20), ("soak", 6600, 20)),
            events_per_s=50,
            interval_s=10,
            change_s=60,
        ),
    },
}


def arrivals(phases: Sequence[Phase], rng: random.Random) -> Iterator[float]:
    """Give when each request is due, in seconds from the beginning."""
    start = 0.0
    for phase in phases:
        yield from (start + at for at in arrivals_of(phase, rng))
        start += phase.seconds


def arrivals_of(phase: Phase, rng: random.Random) -> Iterator[float]:
    """Give when each request of a phase is due, in seconds from its beginning.

    Of a changing rate the time is that by which as many were to arrive as have arrived (Lewis and Shedler,
    "Simulation of Nonhomogeneous Poisson Processes by Thinning", 1979, section 1: inversion).
    """
    first, last = phase.rate_per_s, phase.rate_per_s if phase.to_per_s is None else phase.to_per_s
    growth, arrived = (last - first) / phase.seconds, rng.expovariate(1.0)
    while arrived < (first + last) / 2 * phase.seconds:
        # Of growth * t**2 / 2 + first * t = arrived, in the form that also holds without growth.
        yield 2 * arrived / (first + math.sqrt(first**2 + 2 * growth * arrived))
        arrived += rng.expovariate(1.0)


def requests(phases: Sequence[Phase], *, model: str, seed: int) -> Iterator[TraceRequest]:
    """Give the requests of a load, conversations like those of `generate`: the same for the same seed."""
    contents = cycle(generate(seed, CONTENTS, model=model))
    times = enumerate(arrivals(phases, random.Random(seed)))  # noqa: S311 - no secret
    return (replace(next(contents), number=number, at_s=at_s) for number, at_s in times)
