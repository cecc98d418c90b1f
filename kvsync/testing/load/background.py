"""Requests to a gateway while something happens, and beside them a control that goes past it to one pod."""

import math
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from kvsync.testing.clusters.cluster import PodHandle
from kvsync.testing.results.history import History
from kvsync.testing.scenarios.scenario import Scenario
from kvsync.testing.traffic.sender import Answer, BackgroundTraffic, Sender
from kvsync.testing.traffic.steady import Service
from kvsync.testing.traffic.trace import generate

RATE_PER_S = 20.0
CONTROL_RATE_PER_S = 5.0


class BackgroundLoad:
    """Sends requests while the context is open, and for about `duration_s` at most."""

    def __init__(self, scenario: Scenario, control: PodHandle, *, duration_s: float, seed: int) -> None:
        gateway, history, model = scenario.cluster.gateway_url, scenario.history, control.model
        self._requests = _Stream(gateway, history, "request", model, RATE_PER_S, duration_s, seed)
        self._control = _Stream(control.url, history, "control", model, CONTROL_RATE_PER_S, duration_s, seed)
        self._open = ExitStack()
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for stream in (self._requests, self._control):
            self._open.enter_context(stream.sender)
            self._open.enter_context(stream.traffic)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def await_due(self, moment: float) -> None:
        """Wait until `moment` (monotonic seconds), with every request that is due by then on its way."""
        for stream in (self._requests, self._control):
            stream.traffic.await_due(moment - self._began)

    def await_all(self) -> None:
        """Wait until every request is on its way."""
        for stream in (self._requests, self._control):
            stream.traffic.await_due(stream.last_at_s)

    def service(self, since: float = 0.0, until: float = math.inf) -> Service:
        """Sum up how requests due in a time (monotonic seconds) were served; for a closed context.

        Raises Inconclusive when they are too few.
        """
        return Service.of(self._requests.answers(since, until), self._control.answers(since, until))


class _Stream:
    """Requests at one rate to one place."""

    def __init__(
        self, url: str, history: History, f: str, model: str, rate_per_s: float, duration_s: float, seed: int
    ) -> None:
        requests = generate(seed, round(duration_s * rate_per_s), model=model, rate_per_s=rate_per_s)
        self.last_at_s = requests[-1].at_s
        self.sender = Sender(url, history, f=f)
        self.traffic = BackgroundTraffic(self.sender, requests)

    def answers(self, since: float, until: float) -> list[Answer]:
        return [answer for answer in self.traffic.answers() if since <= answer.t_mono <= until]
