"""Whether routing helps: tokens and times of requests, by the policy that chose their pods."""

from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Histogram

from kvsync.gateway.operation.passage import Passage

REQUEST_BUCKETS_S = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 1.5, 2.5, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
"""From an answer out of the cache to the longest one that is waited for."""

TOKENIZE_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class TrafficMetrics:
    """Counts requests that were answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.prompt_tokens = Counter(
            "kvsync_prompt_tokens",
            "Prompt tokens of completions that were answered, as the engine or else the gateway counts, by"
            " whether the engine reported how many were cached.",
            ("model", "pod", "policy", "reported"),
            registry=registry,
        )
        self.cached_tokens = Counter(
            "kvsync_cached_tokens",
            "Of these, the tokens that were cached: as predicted, and as the engine reported.",
            ("model", "pod", "policy", "by"),
            registry=registry,
        )
        self.duration = Histogram(
            "kvsync_request_duration_seconds",
            "Time from a request to the end of its answer.",
            ("model", "policy"),
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        self.first_byte = Histogram(
            "kvsync_time_to_first_byte_seconds",
            "Time from a request to the first byte of its answer; of a stream, that is its first token.",
            ("model", "policy"),
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        self.tokenize = Histogram(
            "kvsync_tokenize_seconds",
            "Time until the tokens of a prompt were known: at once, if they were given or remembered.",
            buckets=TOKENIZE_BUCKETS_S,
            registry=registry,
        )

    def served(self, passage: Passage) -> None:
        """Count one request that has ended."""
        if passage.tokenize_s is not None:
            self.tokenize.observe(passage.tokenize_s)
        if passage.outcome != str(HTTPStatus.OK.value):
            return
        self.duration.labels(passage.model, passage.policy).observe(passage.duration_s)
        if passage.first_byte_s is not None:
            self.first_byte.labels(passage.model, passage.policy).observe(passage.first_byte_s)
        where, counted = (passage.model, passage.pod, passage.policy), passage.engine_prompt_tokens
        tokens = passage.prompt_tokens if counted is None else counted
        if tokens is None:
            return
        reported = "no" if passage.reported is None else "yes"
        self.prompt_tokens.labels(*where, reported).inc(tokens)
        for by, cached in (("predicted", passage.predicted), ("reported", passage.reported)):
            if cached is not None:
                self.cached_tokens.labels(*where, by).inc(cached)
