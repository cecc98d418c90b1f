"""What the receiver counts. Labels come from fixed sets, so that no sender can fill the memory with names."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""GitHub waits 10 s; we promise 1 s."""
PREFIX = "kvsync_ci_webhook"


class ReceiverMetrics:
    """Counters in a separate registry; `depth` says how many deliveries wait, and how long (seconds)."""

    def __init__(self, depth: Callable[[], tuple[int, float]]) -> None:
        self.registry = CollectorRegistry()
        self.deliveries = Counter(
            f"{PREFIX}_deliveries",
            "Signed deliveries by event and what they led to: accepted, repeated, ignored, pong.",
            ["event", "outcome"],
            registry=self.registry,
        )
        self.rejected = Counter(
            f"{PREFIX}_rejected", "Requests turned away, by reason.", ["reason"], registry=self.registry
        )
        self.dispatched = Counter(
            f"{PREFIX}_dispatched", "Deliveries finished, by how.", ["outcome"], registry=self.registry
        )
        self.failures = Counter(
            f"{PREFIX}_dispatch_failures",
            "Attempts to start a run that will be repeated, by whose fault it was.",
            ["reason"],
            registry=self.registry,
        )
        self.answer_seconds = Histogram(
            f"{PREFIX}_answer_seconds",
            "Time from a request to its answer.",
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        Gauge(
            f"{PREFIX}_inbox_depth", "Accepted deliveries not started yet.", registry=self.registry
        ).set_function(lambda: depth()[0])
        Gauge(
            f"{PREFIX}_inbox_oldest_seconds",
            "How long the oldest of them has waited.",
            registry=self.registry,
        ).set_function(lambda: depth()[1])
