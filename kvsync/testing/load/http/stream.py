"""Requests to any HTTP service, at given rates, as a stream of the load generator.

For whoever needs requests of a load stage while something else happens (a fault, say):

```python
stream = HttpStream(target=url, kinds=[RequestKind(name="read", path="/")], phases=[...], seed=7)
with Generator([stream.steady(rate_per_s=50, seconds=60)], run_dir=run_dir, name="steady", test="t") as load:
    ...                                # requests are sent since `load.began`, a moment of the monotonic clock
samples = [Sample.of(each) for each in load.records() if each["f"] == "request"]
```

The generator is a process of its own. Each answer is a record with `due`, `late_s`, `latency_s`, `status`,
`error`, and `request` and `phase` (its number), so that `Service.of` and `observed` sum them up as they do
requests to a gateway. `kvsync.ci.stages.load.stream.stream_of` makes a stream of a stage in stages.toml.
"""

import math
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from kvsync.testing.load.http.requests import Drawing, HttpRequest, RequestKind, Values
from kvsync.testing.load.http.sender import HttpSender
from kvsync.testing.load.http.tally import RequestTally
from kvsync.testing.load.http.thresholds import Threshold, parse
from kvsync.testing.load.plan import Phase, arrivals_of
from kvsync.testing.results.history import History
from kvsync.testing.traffic.service import LATE_SHARE

_SETTLE_S = 1.0
"""After a step of a climb its last requests get this long, or half a step if that is less."""
_TURN_S = 0.02

LATE = "left late"
"""How it begins what broke a step, if that was not the service but its sender."""
WAITED = "waited for a place among those without an answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpStream:
    """Requests to `target` in `phases`, one after the other; their records are of the kind `f`.

    Phases that climb and follow each other under one name are the steps of a climb: where one of `thresholds`
    breaks, the rest of them is left out. `most_records`: see HttpSender; None for a record of each request.
    """

    target: str
    kinds: Sequence[RequestKind]
    phases: Sequence[Phase]
    seed: int
    values: Mapping[str, Values] = field(default_factory=dict)
    thresholds: Sequence[str] = ()
    f: str = "request"
    most_records: int | None = None

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Return the stream that `asdict` made JSON of."""
        kinds = [RequestKind(**each) for each in fields["kinds"]]
        phases = [Phase(**each) for each in fields["phases"]]
        return cls(**{**fields, "kinds": kinds, "phases": phases})

    @property
    def last_answer_s(self) -> float:
        """How long the last answer may take."""
        return max(each.timeout_s for each in self.kinds)

    def steady(self, rate_per_s: float, seconds: float) -> Self:
        """Return the same requests at one rate, in one phase."""
        return replace(
            self, phases=[Phase(name="steady", seconds=seconds, rate_per_s=rate_per_s)], thresholds=()
        )

    def sender(self, history: History) -> HttpSender:
        """Return what sends them."""
        return HttpSender(self.target, history, f=self.f, most_records=self.most_records)

    def coming(self, sender: HttpSender, began: float, stop: threading.Event) -> Iterator[HttpRequest]:
        """Give what is to be sent, in order; between the steps of a climb it waits for answers."""
        return _Coming(self, sender, began, stop).requests()


class _Coming:
    """Walks through the phases of a stream, and writes down what became of each."""

    def __init__(self, stream: HttpStream, sender: HttpSender, began: float, stop: threading.Event) -> None:
        self._stream, self._sender, self._began, self._stop = stream, sender, began, stop
        self._drawing = Drawing(stream.kinds, stream.values, sender.captured, stream.seed)
        self._rng = random.Random(stream.seed)  # noqa: S311 - no secret
        self._thresholds = [parse(text) for text in stream.thresholds]

    def requests(self) -> Iterator[HttpRequest]:
        start, ended = 0.0, ""
        for number, phase in enumerate(self._stream.phases):
            if phase.climbs and phase.name == ended:
                continue
            intended, cpu = 0, time.process_time()
            self._sender.history.append(f="phase", type="start", phase=number)
            for at in arrivals_of(phase, self._rng):
                intended += 1
                request = self._drawing.draw(start + at, number)
                self._sender.expect()
                yield request
            self._until(start + phase.seconds)
            start += phase.seconds
            facts: dict[str, object] = {
                "phase": number,
                "intended": intended,
                "busy": (time.process_time() - cpu) / phase.seconds,
            }
            if phase.climbs:
                start, broken = self._settled(start, number)
                facts |= {"broken": broken}
                ended = phase.name if broken else ""
            if not self._stop.is_set():
                self._sender.history.append(f="phase", type="stop", **facts)

    def _until(self, at_s: float) -> None:
        self._stop.wait(max(0.0, self._began + at_s - time.monotonic()))

    def _settled(self, end: float, number: int) -> tuple[float, list[str]]:
        """Wait for the last answers of a step; return when the next one begins, and what this one broke."""
        phase, sender = self._stream.phases[number], self._sender
        until = self._began + end + min(_SETTLE_S, phase.seconds / 2)
        while sender.waiting and time.monotonic() < until and not self._stop.wait(_TURN_S):
            pass
        tallies = {kind.name: sender.tally(number, kind.name) for kind in self._stream.kinds}
        broken = broken_in(tallies, sender.waiting, phase, self._thresholds)
        return max(end, time.monotonic() - self._began), broken


def broken_in(
    tallies: Mapping[str, RequestTally], lost: int, phase: Phase, thresholds: Sequence[Threshold]
) -> list[str]:
    """Say what a step of a climb broke, by the requests of each kind and those `lost` without an answer."""
    whole = RequestTally.of(tallies.values())
    if lost > LATE_SHARE * (whole.count + lost):
        return [f"{lost} of {whole.count + lost} requests had no answer yet"]
    if whole.late > LATE_SHARE * whole.count:
        why = WAITED if 2 * whole.crowded > whole.late else LATE
        return [f"{why}: {whole.late} of {whole.count} requests"]
    broken = []
    for each in thresholds:
        asked = tallies.get(each.request, RequestTally()) if each.request else whole
        value = asked.measure(each, phase.seconds)
        if each.breaks_climb(phase.name) and not math.isnan(value) and not each.holds(value):
            broken.append(f"{each.text}: {each.shown(value)}")
    return broken
