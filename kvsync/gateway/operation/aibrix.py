"""AIBrix' names for what both measure, so that its dashboards and alerts carry over.

Only what means the same here has them. AIBrix follows one publisher for each pod: of a pod with several
data-parallel ranks, counts are added up, the newest number is shown, and it is connected if all ranks are.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.metrics import Counter as Counted
from prometheus_client.metrics import Histogram
from prometheus_client.registry import Collector

from kvsync.gateway.status import StatusView

EVENT_TYPES = {"stored": "BlockStored", "removed": "BlockRemoved", "cleared": "AllBlocksCleared"}

SELECTIONS = {
    "prefix_match": "prefix_match",
    "expected_prefix": "prefix_match",
    "prefix_match_skipped": "prefix_match_skipped",
}
"""AIBrix' word for why a pod was chosen; all others are its least_request_fallback."""

Labels = TypeVar("Labels", bound=tuple[str, ...])

_ZMQ = "aibrix_kvcache_zmq"
_PREFIX_CACHE = "aibrix_prefix_cache"


class AIBrixCollector(Collector):
    """Metrics of sources and decisions once more, read when they are asked for."""

    def __init__(self, status: StatusView, decisions: Counted, routing_seconds: Histogram) -> None:
        self._status = status
        self._decisions = decisions
        self._routing_seconds = routing_seconds

    def describe(self) -> list[Metric]:
        """Name nothing in advance: the registry would have to scrape for that."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read everything now."""
        yield from self._sources()
        yield from self._events()
        yield from self._routing()

    def _sources(self) -> Iterator[Metric]:
        connected: dict[str, bool] = defaultdict(lambda: True)
        last: dict[str, int] = {}
        counts: dict[str, Counter[str]] = {
            name: Counter() for name in ("replay_requests", "replay_failures", "events_processed")
        }
        errors: Counter[tuple[str, str]] = Counter()
        for status in self._status.sources():
            pod, counters = status.source.pod, status.counters
            connected[pod] &= status.connected
            last[pod] = max(last.get(pod, -1), -1 if status.last is None else status.last)
            counts["replay_requests"][pod] += counters.replays
            counts["replay_failures"][pod] += counters.replay_failures
            counts["events_processed"][pod] += status.events
            errors[pod, "decode"] += sum(status.errors.values())
        state = GaugeMetricFamily(
            f"{_ZMQ}_connection_status", "As kvsync_source_connected.", labels=["pod_key"]
        )
        newest = GaugeMetricFamily(
            f"{_ZMQ}_last_sequence_id", "As kvsync_source_last_sequence.", labels=["pod_key"]
        )
        for pod, is_connected in connected.items():
            state.add_metric([pod], is_connected)
            newest.add_metric([pod], last[pod])
        yield from (state, newest)
        for name, by_pod in counts.items():
            family = CounterMetricFamily(f"{_ZMQ}_{name}", f"{name} of kvsync.", labels=["pod_key"])
            for pod, number in by_pod.items():
                family.add_metric([pod], number)
            yield family
        yield _counted(f"{_ZMQ}_errors", "As kvsync_events_skipped_total.", ["pod_key", "error_type"], errors)

    def _events(self) -> Iterator[Metric]:
        events = self._status.indexer.picture().events
        received = Counter({(pod, EVENT_TYPES[kind]): number for (pod, kind), number in events.items()})
        yield _counted(
            f"{_ZMQ}_events_received", "As kvsync_events_total.", ["pod_key", "event_type"], received
        )

    def _routing(self) -> Iterator[Metric]:
        decisions: Counter[tuple[str, str, str]] = Counter()
        selections: Counter[tuple[str]] = Counter()
        using = str(self._status.config.sync_enabled).lower()
        for sample in next(iter(self._decisions.collect())).samples:
            if sample.name.endswith("_total"):
                labels, number = sample.labels, int(sample.value)
                decisions[labels["model"], labels["match_percent_bucket"], using] += number
                selections[(SELECTIONS.get(labels["selection"], "least_request_fallback"),)] += number
        of = ["model", "match_percent_bucket", "using_kv_sync"]
        name = f"{_PREFIX_CACHE}_routing_decisions"
        yield _counted(name, "As kvsync_routing_decisions_total.", of, decisions)
        name = f"{_PREFIX_CACHE}_routing_selection"
        yield _counted(name, "As kvsync_routing_decisions_total.", ["selection"], selections)
        yield self._latency()

    def _latency(self) -> Metric:
        name = f"{_PREFIX_CACHE}_routing_latency_seconds"
        family = HistogramMetricFamily(name, "As kvsync_routing_seconds.")
        for sample in next(iter(self._routing_seconds.collect())).samples:
            ending = sample.name.removeprefix("kvsync_routing_seconds")
            if ending != "_created":
                family.add_sample(name + ending, sample.labels, sample.value)
        return family


def _counted(name: str, text: str, labels: list[str], counts: Mapping[Labels, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, number in counts.items():
        family.add_metric(values, number)
    return family
