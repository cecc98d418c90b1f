"""What a load shows: each threshold, and each climb, as a check with what was measured. Pure.

- A threshold without samples is void: k6 lets it pass.
- Requests that were never sent, or left late, were not offered: more than LATE_SHARE of them, and nothing is
  concluded, unless errors among those that left in time break a limit, or there was no place for them among
  requests that the service left without an answer.
- Fewer than FEWEST_REQUESTS pass nothing.
- What was measured until an interruption is said, and decides nothing.
- The steps of a climb look for a limit and are judged by what they found: thresholds over all phases leave
  them out if there are other phases, and those over the climb have the steps that held.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

from kvsync.testing.load.http.stream import LATE
from kvsync.testing.load.http.tally import RequestTally, Tallies
from kvsync.testing.load.http.thresholds import Threshold
from kvsync.testing.load.plan import Phase
from kvsync.testing.results.history import Record
from kvsync.testing.results.outcome import Check, CheckKind
from kvsync.testing.traffic.service import LATE_S, LATE_SHARE
from kvsync.testing.traffic.steady import FEWEST_REQUESTS

BUSY = 0.9
"""A sender that takes more of a core has reached its limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEnd:
    """What the sender says of a phase that it came to the end of: `busy` is its share of a core."""

    intended: int
    busy: float = 0.0
    broken: Sequence[str] = ()


def is_meant(asked: str, name: str) -> bool:
    """Say whether a threshold is about a request; those of scripts have names with a method in front."""
    return asked in ("", name, name.partition(" ")[2])


def ends_of(records: Sequence[Record]) -> dict[int, PhaseEnd]:
    """Return what the records of a sender say of the phases that ended, by their numbers."""
    return {
        int(str(each["phase"])): PhaseEnd(
            intended=int(str(each["intended"])),
            busy=float(str(each["busy"])),
            broken=tuple(each.get("broken", ())),  # type: ignore[arg-type]  # a list of texts
        )
        for each in records
        if each["f"] == "phase" and each["type"] == "stop"
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedRequests:
    """A load, and what came of it: `why` says what ended it before its end, "" if nothing did.

    `ends` are None where the sender does not say what it had to send. Latencies are `counted_from` when a
    request was due or, by what others measured, from when it was sent.
    """

    phases: Sequence[Phase]
    tallies: Tallies
    ends: Mapping[int, PhaseEnd] | None = None
    why: str = ""
    counted_from: Literal["due", "sent"] = "due"

    def climbs(self) -> Iterator["Climb"]:
        """Yield each climb, with its steps in order."""
        for (name, climbs), steps in groupby(
            enumerate(self.phases), lambda each: (each[1].name, each[1].climbs)
        ):
            if climbs:
                yield Climb(name=name, steps=tuple(steps), ends=self.ends or {})

    def numbers(self, phase: str) -> list[int]:
        """Return which phases are meant by a name, of a climb the steps that held.

        "" stands for all that do not climb, or all where each does.
        """
        held = {number for climb in self.climbs() for number in climb.held}
        alone = all(each.climbs for each in self.phases)
        return [
            number
            for number, each in enumerate(self.phases)
            if (each.name == phase if phase else alone or not each.climbs)
            and (number in held or not each.climbs)
        ]

    def tally(self, numbers: Sequence[int], request: str = "") -> RequestTally:
        """Return what came of the requests of one kind, or of all, in these phases."""
        return RequestTally.of(
            each
            for (number, name), each in self.tallies.items()
            if number in numbers and is_meant(request, name)
        )

    def seconds(self, numbers: Sequence[int]) -> float:
        """Return how long these phases take."""
        return sum(self.phases[number].seconds for number in numbers)

    def not_offered(self, numbers: Sequence[int], asked: RequestTally) -> str:
        """Say why nothing can be concluded: requests were not sent when they were due; "" else."""
        whole = self.tally(numbers)
        intended = (
            sum(self.ends[number].intended for number in numbers if number in self.ends) if self.ends else 0
        )
        lost = max(0, intended - whole.count)
        if asked.late <= LATE_SHARE * asked.count and not lost:
            return ""
        said = f"the load was not offered: of {asked.count} requests {asked.late} left over {LATE_S:g} s late"
        said += f", and {lost} were lost" if lost else ""
        busy = max((end.busy for number, end in (self.ends or {}).items() if number in numbers), default=0.0)
        if busy > BUSY:
            said += f"; the sender is at its limit: it took {100 * busy:.0f} % of a core"
        return said


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """The steps of a climb, with their numbers among the phases."""

    name: str
    steps: Sequence[tuple[int, Phase]]
    ends: Mapping[int, PhaseEnd] = field(default_factory=dict)

    @property
    def held(self) -> list[int]:
        """The numbers of the steps in which nothing broke."""
        return [number for number, _ in self.steps if number in self.ends and not self.ends[number].broken]

    @property
    def rate_per_s(self) -> float:
        """The highest rate that held; nan without one."""
        rates = [step.rate_per_s for number, step in self.steps if number in self.held]
        return max(rates, default=math.nan)

    @property
    def broke_at(self) -> tuple[float, Sequence[str]] | None:
        """The rate at which it broke, and what did."""
        found = [
            (step.rate_per_s, self.ends[number].broken) for number, step in self.steps if number in self.ends
        ]
        return next(((rate, broken) for rate, broken in found if broken), None)


def judged(offered: OfferedRequests, thresholds: Sequence[Threshold]) -> list[Check]:
    """Return a check for each threshold and each climb."""
    return [
        *(_judged(offered, each) for each in thresholds),
        *(_climbed(offered, climb, thresholds) for climb in offered.climbs()),
    ]


def measured(offered: OfferedRequests, threshold: Threshold) -> tuple[float, RequestTally]:
    """Return what a threshold asks for (nan where nothing says), and the requests that it is about."""
    climb = next((each for each in offered.climbs() if each.name == threshold.phase), None)
    numbers = offered.numbers(threshold.phase)
    asked = offered.tally(numbers, threshold.request)
    if climb and threshold.measure == "rate":
        return climb.rate_per_s, asked
    return asked.measure(threshold, offered.seconds(numbers)), asked


def _judged(offered: OfferedRequests, threshold: Threshold) -> Check:
    value, asked = measured(offered, threshold)
    kind, detail = _verdict(offered, threshold, value, asked)
    shown = {} if math.isnan(value) else {"measured": threshold.shown(value)}
    return Check(
        name=threshold.text, kind=kind, detail=detail, properties={**shown, "requests": str(asked.count)}
    )


def _verdict(
    offered: OfferedRequests, threshold: Threshold, value: float, asked: RequestTally
) -> tuple[CheckKind, str]:
    if math.isnan(value):
        what = f"of {threshold.request} " if threshold.request else ""
        said = f"no request {what}was answered, so there is nothing to measure"
        return ("not-run", f"{offered.why}, and {said}") if offered.why else ("void", said)
    said = f"{_was(threshold)} {threshold.shown(value)} of {asked.count} requests{_errors(asked)}"
    if offered.why:
        # Of a phase that was not gone through, there is no rate.
        until_then = f"{asked.count} requests were answered" if threshold.measure == "rate" else said
        return "inconclusive", f"{offered.why}; until then {until_then}"
    broken = not threshold.holds(value)
    doubt = offered.not_offered(offered.numbers(threshold.phase), asked)
    if doubt:
        is_shown = broken and (_errors_in_time(threshold, asked) or 2 * asked.crowded > asked.late)
        waited = f"; {asked.crowded} had to wait for requests without an answer" if asked.crowded else ""
        return ("failed" if is_shown else "inconclusive"), f"{said}; {doubt}{waited}"
    if asked.count < FEWEST_REQUESTS and not (broken and threshold.measure == "errors"):
        return "inconclusive", f"{said}; at least {FEWEST_REQUESTS} are needed to say anything"
    return ("failed" if broken else "passed"), said


def _was(threshold: Threshold) -> str:
    return "errors were" if threshold.measure == "errors" else f"{threshold.measure} was"


def _errors_in_time(threshold: Threshold, asked: RequestTally) -> bool:
    """Say whether errors break a limit by the requests alone that left in time."""
    in_time = asked.count - asked.late
    return (
        threshold.measure == "errors"
        and bool(in_time)
        and not threshold.holds(asked.failed_in_time / in_time)
    )


def _errors(asked: RequestTally) -> str:
    if not asked.failed:
        return ""
    common = "; ".join(f"{count} x {error}" for error, count in asked.errors.most_common(3))
    return f", {asked.failed} failed ({common})"


def _climbed(offered: OfferedRequests, climb: Climb, thresholds: Sequence[Threshold]) -> Check:
    kind, detail = _found(offered, climb, thresholds)
    return Check(name=f"climb: {climb.name}" if climb.name != "climb" else "climb", kind=kind, detail=detail)


def _found(offered: OfferedRequests, climb: Climb, thresholds: Sequence[Threshold]) -> tuple[CheckKind, str]:
    held = "" if math.isnan(climb.rate_per_s) else f"held {climb.rate_per_s:g}/s"
    if climb.broke_at:
        rate, broken = climb.broke_at
        said = ", ".join(filter(None, [held, f"broke at {rate:g}/s: {'; '.join(broken)}"]))
        if broken[0].startswith(LATE):
            return "inconclusive", f"{said}; the sender could not offer more, so where it breaks is not known"
        return ("passed" if held else "failed"), said
    if offered.why:
        return ("inconclusive" if held else "not-run"), "; until then ".join(
            filter(None, [offered.why, held])
        )
    steps = offered.numbers(climb.name)
    over = [each for each in thresholds if each.breaks_climb(climb.name)]
    if not any(offered.tally(steps, each.request).count for each in over):
        return "void", "no threshold had a request to be judged by, so nothing could break"
    return "passed", f"{held}, the highest rate that was tried"
