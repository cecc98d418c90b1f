"""What the gateway counts, and what is read from its parts when Prometheus asks.

Only what leaves no other trace is counted here: requests, decisions, failures. What the event manager and the
index know is read from them at scrape time, so that a metric cannot differ from what they do.
"""

import asyncio
from collections import Counter as Sum
from collections.abc import Collection, Iterator
from dataclasses import fields
from platform import python_version

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

import kvsync
from kvsync.gateway.agreement import Accuracy
from kvsync.gateway.failover.breaker import BreakerState
from kvsync.gateway.operation.aibrix import AIBrixCollector
from kvsync.gateway.operation.traffic import TrafficMetrics
from kvsync.gateway.predictions import Prediction
from kvsync.gateway.router import Route
from kvsync.gateway.status import StatusView
from kvsync.sequence import Counters, State

ROUTING_BUCKETS_S = tuple(1e-5 * 2**n for n in range(15))
"""10 us to 160 ms, AIBrix' buckets, so that its dashboards carry over."""

SOURCE_GAUGES = {
    "last": ("source_last_sequence", "Last batch applied."),
    "lag_batches": ("source_lag_batches", "Batches seen but not applied yet."),
    "behind_s": ("source_behind_seconds", "For how long there has been more to read than was read."),
    "last_event_age_s": ("source_event_age_seconds", "Time since a batch was applied."),
    "connected": ("source_connected", "Whether the publisher is connected."),
}
"""Metrics of a source by the field of its status."""


class GatewayMetrics:
    """The gateway's counters in a registry of their own."""

    def __init__(self, status: StatusView) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(StatusCollector(status))
        ProcessCollector(registry=self.registry)
        self.traffic = TrafficMetrics(self.registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"kvsync_{name}", text, labels, registry=self.registry)

        self.requests = counter(
            "requests",
            "Completion requests by how they ended: a status, cut off mid-answer, client disconnected.",
            "model",
            "selection",
            "status",
            "policy",
        )
        self.decisions = counter(
            "routing_decisions",
            "Decisions by why the pod was chosen, how much of the prompt it holds, and how sure that is.",
            "model",
            "selection",
            "match_percent_bucket",
            "source_state",
            "policy",
        )
        self.routing_seconds = Histogram(
            "kvsync_routing_seconds",
            "Time to hash a prompt, match it and rank the pods.",
            buckets=ROUTING_BUCKETS_S,
            registry=self.registry,
        )
        self.tokenize_failures = counter(
            "tokenize_failures", "Prompts routed without a prefix because no tokenizer returned their tokens."
        )
        self.upstream_failures = counter(
            "upstream_failures", "Requests that a pod did not answer, or not to the end.", "pod"
        )
        self.predictions = counter(
            "predictions",
            "Predicted cached prompt tokens against those the pod reported: exact, over or under.",
            "pod",
            "outcome",
        )
        self.predicted = counter(
            "predicted_cached_tokens", "Prompt tokens that pods were expected to have cached.", "pod"
        )
        self.reported = counter(
            "reported_cached_tokens", "Prompt tokens that pods reported as cached, same requests.", "pod"
        )

        if status.config.metrics.aibrix_names:
            self.registry.register(AIBrixCollector(status, self.decisions, self.routing_seconds))

    def decided(self, model: str, route: Route) -> None:
        """Count a decision by the pod it prefers."""
        for choice in route.choices[:1]:
            self.decisions.labels(
                model, choice.selection.value, route.match_percent(choice), choice.state.value, route.policy
            ).inc()

    def compared(self, prediction: Prediction, found: tuple[Accuracy, int] | None) -> None:
        """Count what was predicted for a request, if the pod reported the truth."""
        if found is not None:
            pod, (outcome, reported) = prediction.pod.name, found
            self.predictions.labels(pod, outcome.value).inc()
            self.predicted.labels(pod).inc(prediction.cached_tokens)
            self.reported.labels(pod).inc(reported)

    def keep(self, pods: Collection[str]) -> None:
        """Drop the series of all other pods: names change with every roll-out, and would pile up."""
        traffic = (self.traffic.prompt_tokens, self.traffic.cached_tokens)
        for counter in (self.upstream_failures, self.predictions, self.predicted, self.reported, *traffic):
            for sample in next(iter(counter.collect())).samples:
                if sample.labels["pod"] not in pods:
                    counter.remove_by_labels({"pod": sample.labels["pod"]})


class StatusCollector(Collector):
    """Metrics of pods, sources and the index, read when they are asked for."""

    def __init__(self, status: StatusView) -> None:
        self._status = status

    def describe(self) -> list[Metric]:
        """Name nothing in advance: the registry would have to scrape for that."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read everything now."""
        yield from self._pods()
        yield from self._events()
        yield from self._sources()
        yield from self._itself()

    def _itself(self) -> Iterator[Metric]:
        status = self._status
        retries = CounterMetricFamily(
            "kvsync_retries",
            "Requests sent again after a pod failed them, by kind, and those that were not, by why.",
            labels=["kind", "outcome"],
        )
        for labels, count in status.retries.counts.items():
            retries.add_metric(labels, count)
        yield retries
        snapshots = CounterMetricFamily(
            "kvsync_snapshots",
            "Snapshots of sources by what became of them: read or taken, then restored, thrown away or unfit;"
            " written or not.",
            labels=["outcome"],
        )
        known = status.indexer.picture()
        for outcome, count in known.snapshots.items():
            snapshots.add_metric([outcome], count)
        yield snapshots
        yield GaugeMetricFamily("kvsync_workers", "Processes of the gateway that are on this page.", 1)
        yield GaugeMetricFamily(
            "kvsync_indexer_up", "Whether what pods hold is known.", not status.indexer.problem
        )
        yield CounterMetricFamily(
            "kvsync_indexer_restarts",
            "How often another run of it was found.",
            status.indexer.restarts,
        )
        queries = CounterMetricFamily(
            "kvsync_indexer_queries",
            "Prompts that were looked up, by whether the indexer answered, did not, or was away.",
            labels=["outcome"],
        )
        for outcome, count in status.indexer.counts.items():
            queries.add_metric([outcome], count)
        yield queries
        yield GaugeMetricFamily(
            "kvsync_index_bytes", "Memory that the index takes, estimated.", known.bytes_estimated
        )
        release = {"version": kvsync.__version__, "python": python_version()}
        yield InfoMetricFamily("kvsync_build", "The release that runs.", release)
        tasks = len(asyncio.all_tasks())
        yield GaugeMetricFamily(
            "kvsync_tasks", "Tasks of the event loop, which sources and requests have.", tasks
        )

    def _pods(self) -> Iterator[Metric]:
        status = self._status
        healthy = GaugeMetricFamily("kvsync_pod_healthy", "Whether the pod answers.", labels=["pod"])
        running = GaugeMetricFamily(
            "kvsync_pod_running_requests", "This gateway's requests on the pod.", labels=["pod"]
        )
        blocks = GaugeMetricFamily("kvsync_index_blocks", "Blocks the pod is known to hold.", labels=["pod"])
        breaker = GaugeMetricFamily(
            "kvsync_pod_breaker", "1 for the state the pod's circuit breaker is in.", labels=["pod", "state"]
        )
        engines = GaugeMetricFamily(
            "kvsync_pod_engine_requests",
            "All requests of the pod's engine, as it says itself: running or waiting.",
            labels=["pod", "state"],
        )
        held: Sum[str] = Sum()
        for facts in status.indexer.picture().sources:
            held[facts.status.source.pod] += facts.blocks
        for pod in status.indexer.pods:
            if said := status.engines.requests(pod):
                engines.add_metric([pod.name, "running"], sum(said.running.values()))
                engines.add_metric([pod.name, "waiting"], sum(said.waiting.values()))
            for state in BreakerState:
                breaker.add_metric([pod.name, state.value], status.breakers.state(pod.name) is state)
            healthy.add_metric([pod.name], status.health.of(pod).healthy)
            running.add_metric([pod.name], status.load.of(pod.name))
            blocks.add_metric([pod.name], held[pod.name])
        yield from (healthy, running, blocks, breaker, engines)
        yield from self._predictions()

    def _predictions(self) -> Iterator[Metric]:
        recent = GaugeMetricFamily(
            "kvsync_recent_predictions",
            "The last predictions that tell something, by how they compare with what the pod reported.",
            labels=["pod", "outcome"],
        )
        doubtful = GaugeMetricFamily(
            "kvsync_predictions_doubtful",
            "Whether the pod's sources are not exact because of its predictions.",
            labels=["pod"],
        )
        since = GaugeMetricFamily(
            "kvsync_predictions_since_seconds", "For how long that has been so.", labels=["pod"]
        )
        for pod in self._status.indexer.pods:
            agreement = self._status.predictions.of(pod)
            for outcome in Accuracy:
                recent.add_metric([pod.name, outcome.value], agreement.recent[outcome])
            doubtful.add_metric([pod.name], bool(agreement.doubt))
            since.add_metric([pod.name], agreement.since_s)
        yield from (recent, doubtful, since)

    def _events(self) -> Iterator[Metric]:
        known = self._status.indexer.picture()
        skipped = Sum(
            {
                (pod, label.removeprefix("skipped_")): count
                for (pod, label), count in known.applied.items()
                if label.startswith("skipped_")
            }
        )
        for facts in known.sources:
            for reason, count in facts.status.errors.items():
                skipped[facts.status.source.pod, reason] += count
        for name, text, label, counts in (
            ("events", "Events applied, by what they announce.", "kind", known.events),
            (
                "index_changes",
                "What events did to the index, in blocks or events.",
                "effect",
                known.applied,
            ),
            ("events_skipped", "Events and messages that could not be used.", "reason", skipped),
        ):
            family = CounterMetricFamily(f"kvsync_{name}", text, labels=["pod", label])
            for labels, count in counts.items():
                family.add_metric(labels, count)
            yield family

    def _sources(self) -> Iterator[Metric]:
        labels = ["pod", "rank"]
        state = GaugeMetricFamily(
            "kvsync_source_state", "1 for the state the source is in.", labels=[*labels, "state"]
        )
        gauges = {
            field: GaugeMetricFamily(f"kvsync_{name}", text, labels=labels)
            for field, (name, text) in SOURCE_GAUGES.items()
        }
        counters = {
            field.name: CounterMetricFamily(
                f"kvsync_{field.name}", f"Sequence counter `{field.name}` of the source.", labels=labels
            )
            for field in fields(Counters)
        }
        for status in self._status.sources():
            where = [status.source.pod, str(status.source.rank)]
            for one in State:
                state.add_metric([*where, one.value], status.state is one)
            for name, gauge in gauges.items():
                if (value := getattr(status, name)) is not None:
                    gauge.add_metric(where, value)
            for name, counter in counters.items():
                counter.add_metric(where, getattr(status.counters, name))
        yield from (state, *gauges.values(), *counters.values())
