"""What a gateway needs while it serves, and whether it needs more and more.

The numbers are from its own metrics, so they are available wherever it runs.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from statistics import linear_regression
from typing import Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

from kvsync.testing.clusters.cluster import Cluster
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES, TIMEOUT_S, GatewayView, PodAdmin
from kvsync.testing.errors import ClusterError, WaitTimeout
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import Inconclusive, NotRun

SLACK_BYTES = 16 << 20
"""What allocators keep or give back by themselves: Python takes 1 MiB at a time, malloc some per thread."""
GROWTH_BYTES_PER_H = 16 << 20
"""At 20 requests and 150 events a second this is 27 bytes each: any object that is kept is larger."""
FEWEST_SAMPLES = 5
REST_S = 30.0
"""How long connections may stay open after their requests ended."""
SPARE_FILES = 8
"""Connections that the next requests will reuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What the first gateway needed at one moment (monotonic seconds), and how many sources it followed.

    `resident` is memory in bytes, `files` are open descriptors, `tasks` those of its event loop.
    """

    at: float
    resident: float
    files: float
    tasks: float
    sources: int

    @classmethod
    def of(cls, cluster: Cluster, at: float) -> Self:
        """Ask for it. Raises ClusterError, and NotRun where a gateway cannot tell."""
        url = cluster.gateways()[0]
        values = _metrics(f"{url}/metrics")
        names = ("process_resident_memory_bytes", "process_open_fds", "kvsync_tasks")
        if missing := [name for name in names if name not in values]:
            raise NotRun(f"the gateway does not tell {', '.join(missing)}")
        resident, files, tasks = (values[name] for name in names)
        sources = len(GatewayView(url).sources())
        return cls(at=at, resident=resident, files=files, tasks=tasks, sources=sources)

    def record(self, history: History, behind: int | None) -> None:
        """Write it down, with the number of batches that the index is behind."""
        fields = {name: value for name, value in asdict(self).items() if name != "at"}
        history.append(f="vitals", at=self.at, behind=behind, **fields)


def behind(cluster: Cluster) -> int | None:
    """Return how many batches were published that the gateway has not applied; None while pods come or go."""
    with suppress(ClusterError):
        published = {pod.name: PodAdmin(pod.admin_url).sequence() for pod in cluster.pods()}
        applied = {each.pod: each.last for each in GatewayView(cluster.gateways()[0]).sources()}
        if applied.keys() == published.keys():
            pairs = ((last, applied[pod]) for pod, last in published.items())
            return sum(max(0, last - (-1 if done is None else done)) for last, done in pairs)
    return None


def growth(samples: Sequence[Vitals]) -> float:
    """Return by how many bytes memory grew from the first sample to the last, on the line that fits best.

    Raises Inconclusive when there are too few samples.
    """
    if len(samples) < FEWEST_SAMPLES:
        raise Inconclusive(f"{len(samples)} samples of memory are too few, {FEWEST_SAMPLES} are needed")
    line = linear_regression([each.at for each in samples], [each.resident for each in samples])
    return line.slope * (samples[-1].at - samples[0].at)


def most_growth(samples: Sequence[Vitals]) -> float:
    """Return by how many bytes memory may have grown over the time of the samples."""
    return SLACK_BYTES + GROWTH_BYTES_PER_H * (samples[-1].at - samples[0].at) / 3600


def await_rest(cluster: Cluster, before: Vitals, rest_s: float = REST_S) -> None:
    """Wait until a gateway needs no more than before, with as many pods. Fails saying what it has kept."""
    kept: list[str] = []

    def rests() -> bool:
        now = Vitals.of(cluster, 0.0)
        limits = {"files": SPARE_FILES, "tasks": 0, "sources": 0}
        kept[:] = [
            f"{getattr(now, name):g} {name} instead of {getattr(before, name):g}"
            for name, spare in limits.items()
            if getattr(now, name) > getattr(before, name) + spare
        ]
        return not kept

    try:
        wait_for(rests, what="the gateway gives up what the load took", timeout_s=rest_s, interval_s=0.2)
    except WaitTimeout as exc:
        raise AssertionError(f"{rest_s:g} s after the load the gateway has {', '.join(kept)}") from exc


def _metrics(url: str) -> dict[str, float]:
    """Return the metrics without labels. Raises ClusterError."""
    try:
        answer = httpx.get(url, timeout=TIMEOUT_S, verify=NO_CERTIFICATES, trust_env=False)
        families = text_string_to_metric_families(answer.raise_for_status().text)
        return {each.name: each.value for family in families for each in family.samples if not each.labels}
    except (httpx.HTTPError, ValueError) as exc:
        raise ClusterError(f"GET {url}: {type(exc).__name__}: {exc}") from exc
