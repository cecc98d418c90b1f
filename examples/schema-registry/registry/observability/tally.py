"""What one process counts: requests and their latencies, and what each level was asked."""

from collections.abc import Mapping
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

Result = Literal["hit", "miss", "failure"]

LEVELS = ("memory", "redis", "s3", "postgres")
_STATES = {"closed": 0, "half-open": 1, "open": 2}
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Tally:
    """Metrics of Prometheus, in a collection of their own, so that one process can have several."""

    def __init__(self) -> None:
        self._all = CollectorRegistry()
        ProcessCollector(registry=self._all)
        self._levels = Counter(
            "registry_level_requests", "What levels were asked", ["level", "result"], registry=self._all
        )
        self._postponed = Counter(
            "registry_postponed_writes", "Changes that not all levels had at once", registry=self._all
        )
        self._requests = Histogram(
            "registry_request_seconds", "Answers", ["route", "status"], registry=self._all, buckets=_SECONDS
        )
        self._breakers = Gauge(
            "registry_breaker_state", "0 closed, 1 half-open, 2 open", ["level"], registry=self._all
        )

    def asked(self, level: str, result: Result) -> None:
        """Count that a level was asked for a record, or failed at anything."""
        self._levels.labels(level, result).inc()

    def postponed(self) -> None:
        """Count a change that not all levels had at once."""
        self._postponed.inc()

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer; `route` is its pattern, of which there are few."""
        self._requests.labels(route, str(status)).observe(seconds)

    def levels(self) -> dict[str, dict[str, float]]:
        """Return per level what came of its requests, and which share of them it could answer."""
        found: dict[str, dict[str, float]] = {}
        for level in LEVELS:
            counts = {result: self._count(level, result) for result in ("hit", "miss", "failure")}
            asked = counts["hit"] + counts["miss"]
            found[level] = {**counts, "hit_rate": counts["hit"] / asked if asked else 0.0}
        return found

    def exposition(self, breakers: Mapping[str, str]) -> bytes:
        """Return everything as Prometheus reads it."""
        for level, state in breakers.items():
            self._breakers.labels(level).set(_STATES[state])
        return generate_latest(self._all)

    def _count(self, level: str, result: str) -> float:
        name, labels = "registry_level_requests_total", {"level": level, "result": result}
        return self._all.get_sample_value(name, labels) or 0.0
