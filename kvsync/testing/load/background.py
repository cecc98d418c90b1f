"""Requests to a gateway while something happens, and a control that goes past it to one pod meanwhile."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from kvsync.testing.clusters.cluster import PodHandle
from kvsync.testing.load.generator import Generator, with_control
from kvsync.testing.load.plan import Phase
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.scenarios.scenario import Scenario
from kvsync.testing.traffic.service import Sample, Service
from kvsync.testing.traffic.steady import observed


class BackgroundLoad:
    """Offers requests while the context is open, and for about `seconds` at most.

    Leaving it waits for the last answers. Its records are in a history of the run named after `name`.
    """

    def __init__(
        self,
        scenario: Scenario,
        control: PodHandle,
        *,
        name: str,
        rate_per_s: float,
        seconds: float,
        seed: int,
        run_dir: Path,
    ) -> None:
        self._seconds = seconds
        phases = [Phase(name=name, seconds=seconds, rate_per_s=rate_per_s)]
        streams = with_control(scenario.cluster.gateway_url, control.model, control, phases, seed)
        self._generator = Generator(
            streams, run_dir=run_dir, name=f"load-{scenario.cluster.name}-{name}", test=scenario.test
        )

    def __enter__(self) -> Self:
        self._generator.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._generator.__exit__(kind, error, trace)

    def await_until(self, moment: float) -> None:
        """Offer requests until `moment` (monotonic seconds). Raises ProgramEnded when that ends before."""

        def passed() -> bool:
            self._generator.check()
            return time.monotonic() >= moment

        left_s = max(0.0, moment - time.monotonic())
        wait_for(passed, what=f"requests for {left_s:.1f} s more", timeout_s=left_s + 1.0)

    def await_all(self) -> None:
        """Wait until every request was sent."""
        self.await_until(self._generator.began + self._seconds)

    def service(self, since: float = 0.0, until: float = math.inf) -> Service:
        """Sum up how requests due in a time (monotonic seconds) were served; for a closed context.

        Raises Inconclusive when they are too few.
        """
        found = [Sample.of(record) for record in self._generator.records()]
        within = [each for each in found if since <= each.due <= until]
        return observed(_of(within, "request"), _of(within, "control"))


def _of(samples: Sequence[Sample], f: str) -> list[Sample]:
    return [each for each in samples if each.f == f]
