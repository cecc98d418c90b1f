"""A load on a cluster: requests through the gateway, events into it, and what both did to it."""

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from kvsync.testing.benchmarks.gauge import Gauge
from kvsync.testing.clusters.cluster import Cluster, Option, PodHandle
from kvsync.testing.clusters.endpoints import PodAdmin
from kvsync.testing.errors import ClusterError
from kvsync.testing.load.generator import Generator, RequestStream, with_control
from kvsync.testing.load.plan import PASSAGES, LoadPlan
from kvsync.testing.load.service import Served, served
from kvsync.testing.load.vitals import Vitals, behind
from kvsync.testing.results.verdicts import NotRun
from kvsync.testing.scenarios.scenario import Scenario
from kvsync.testing.traffic.sender import REQUEST_TIMEOUT_S
from kvsync.testing.traffic.service import LATE_SHARE, Sample

MODEL, CONTROL = "qwen", "control"
PODS = 3
CAPACITY = 512
"""Blocks of a pod: it is full within seconds, so that from then on everything new evicts something."""
EVENT_BLOCKS = 4
"""Blocks of each prompt that a pod announces though it was never sent."""
CHUNK_S = 1.0
"""Events are asked for in parts of this length, so that a pod that goes takes no more with it."""
_MOST_PODS = 16
NO_HISTORY = "/dev/null"
"""Pods write nothing down of what they published: in hours that would be gigabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What came of a load; `vitals` are in the order of time.

    `events_per_s` are the prompts that all pods together announced without being sent them, and
    `intended_events_per_s` how many there were to be.
    """

    phases: Sequence[Served]
    vitals: Sequence[Vitals]
    peak_behind: int
    events_per_s: float
    intended_events_per_s: float

    def phase(self, name: str) -> Served:
        """Return one phase."""
        return next(each for each in self.phases if each.phase.name == name)

    def record(self, gauge: Gauge) -> None:
        """Record what was measured."""
        for each in self.phases:
            if each.phase.name not in PASSAGES:
                each.record(gauge)
        goal = (1 - LATE_SHARE) * self.intended_events_per_s
        gauge.record("events", self.events_per_s, "1/s", samples=len(self.vitals), better="higher", goal=goal)
        gauge.record("most batches behind", self.peak_behind, "batches", samples=len(self.vitals))


SETTINGS: Mapping[str, object] = {"health": {"timeout_s": 5.0}, "upstream": {"connect_s": 5.0}}
"""Of the gateway: under a load that keeps the machine busy, a pod that is slow for a second is not dead."""


def deploy(cluster: Cluster) -> PodHandle:
    """Start the pods of a load; returns the control, whose model no other request asks for."""
    options: dict[str, Option] = {"capacity": CAPACITY, "history": NO_HISTORY}
    _, control = cluster.deploy_each({MODEL: options, CONTROL: options})
    cluster.scale(MODEL, PODS)
    return control


class Loader:
    """Offers loads to one cluster, one after the other; `control` is asked past the gateway."""

    def __init__(self, scenario: Scenario, control: PodHandle, *, run_dir: Path) -> None:
        self._scenario, self._control, self._run_dir = scenario, control, run_dir
        self._loads = 0

    def offer(self, plan: LoadPlan, *, change: Callable[[], object] | None = None) -> Offered:
        """Offer a load to its end and look at the gateway meanwhile; `change` is called every `change_s`."""
        self._loads += 1
        cluster, history = self._scenario.cluster, self._scenario.history
        requests, control = streams = with_control(
            cluster.gateway_url, MODEL, self._control, plan.phases, self._scenario.seed + self._loads
        )
        vitals: list[Vitals] = []
        lags: list[int | None] = []
        with self._generator(streams) as generator, _Events(plan.events_per_s) as events:
            change_at = plan.change_s or math.inf
            while generator.is_running and (passed := time.monotonic() - generator.began) < _limit_s(plan):
                events.cover(pod for pod in cluster.pods() if pod.model == MODEL)
                with suppress(ClusterError, NotRun):  # what it cannot say now is missing in the samples
                    vitals.append(Vitals.of(cluster, passed))
                    lags.append(behind(cluster))
                    vitals[-1].record(history, lags[-1])
                if change and passed >= change_at:
                    change()
                    change_at += plan.change_s
                generator.await_end(plan.interval_s)
        ended = time.monotonic()
        sent = [Sample.of(record, generator.began) for record in generator.records()]
        return Offered(
            phases=served(
                plan.phases,
                due=[each.at_s for each in requests.requests()],
                samples=[each for each in sent if each.f == requests.f],
                control=[each for each in sent if each.f == control.f],
            ),
            vitals=vitals,
            peak_behind=max(filter(None, lags), default=0),
            events_per_s=events.announced / (ended - generator.began),
            intended_events_per_s=PODS * plan.events_per_s,
        )

    def _generator(self, streams: Sequence[RequestStream]) -> Generator:
        name = f"load-{self._scenario.cluster.name}-{self._loads}"
        return Generator(streams, run_dir=self._run_dir, name=name, test=self._scenario.test)


class _Events:
    """Prompts that were never sent, announced by each pod at a rate while the context is open."""

    def __init__(self, rate_per_s: float) -> None:
        self.announced = 0
        self._prompts = round(rate_per_s * CHUNK_S)
        self._pool, self._stop = ThreadPoolExecutor(_MOST_PODS), threading.Event()
        self._floods: dict[str, Future[int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown()
        self.announced += sum(flood.result() for flood in self._floods.values())

    def cover(self, pods: Iterable[PodHandle]) -> None:
        """Let pods announce that do not yet, or no longer since they were restarted."""
        for pod in pods:
            flood = self._floods.get(pod.name)
            if flood is None or flood.done():
                self.announced += flood.result() if flood else 0
                self._floods[pod.name] = self._pool.submit(self._flood, PodAdmin(pod.admin_url))

    def _flood(self, pod: PodAdmin) -> int:
        announced = 0
        with suppress(ClusterError):  # the pod is gone
            while not self._stop.is_set():
                announced += pod.churn(self._prompts, CHUNK_S, blocks=EVENT_BLOCKS)
        return announced


def _limit_s(plan: LoadPlan) -> float:
    """Return when the last request must have been answered."""
    return plan.starts[-1] + 2 * REQUEST_TIMEOUT_S
