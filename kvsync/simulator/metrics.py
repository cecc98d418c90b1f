"""The engine's metrics under the names that vLLM gives them, as Prometheus text.

Written by hand because importing prometheus_client costs as much start-up time as everything else here.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from kvsync.simulator.scheduler import Scheduler

# vLLM's bucket bounds, in seconds.
_FIRST_TOKEN_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560),
)
_NEXT_TOKEN_S = (
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
)
_REQUEST_S = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)


class Histogram:
    """Counts of observations by upper bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, labels: str) -> list[str]:
        """The samples of this histogram, cumulative as Prometheus wants them."""
        bounds = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        totals = list(accumulate(self._counts))
        buckets = [
            f'{name}_bucket{{le="{bound}",{labels}}} {total}'
            for bound, total in zip(bounds, totals, strict=True)
        ]
        return [*buckets, f"{name}_count{{{labels}}} {totals[-1]}", f"{name}_sum{{{labels}}} {self._sum:.9g}"]


@dataclass(slots=True, kw_only=True)
class EngineMetrics:
    """What the engine did since it started; survives a restart in place, as nothing else does."""

    prompt_tokens: int = 0
    generation_tokens: int = 0
    cached_tokens: int = 0
    preemptions: int = 0
    finished: Counter[str] = field(default_factory=Counter)
    first_token_s: Histogram = field(default_factory=lambda: Histogram(_FIRST_TOKEN_S))
    next_token_s: Histogram = field(default_factory=lambda: Histogram(_NEXT_TOKEN_S))
    request_s: Histogram = field(default_factory=lambda: Histogram(_REQUEST_S))


def render(metrics: EngineMetrics, scheduler: Scheduler, model: str) -> str:
    """All metrics as the text of a /metrics page."""
    labels = f'engine="0",model_name="{_escape(model)}"'
    cache = scheduler.cache
    gauges = {
        "num_requests_running": len(scheduler.running),
        "num_requests_waiting": len(scheduler.waiting),
        "kv_cache_usage_perc": cache.usage,
    }
    counters = {
        "prefix_cache_queries_total": metrics.prompt_tokens,
        "prefix_cache_hits_total": metrics.cached_tokens,
        "prompt_tokens_total": metrics.prompt_tokens,
        "generation_tokens_total": metrics.generation_tokens,
        "num_preemptions_total": metrics.preemptions,
    }
    histograms = {
        "time_to_first_token_seconds": metrics.first_token_s,
        "inter_token_latency_seconds": metrics.next_token_s,
        "e2e_request_latency_seconds": metrics.request_s,
    }
    lines: list[str] = []
    for name, gauge in gauges.items():
        lines += [f"# TYPE vllm:{name} gauge", f"vllm:{name}{{{labels}}} {gauge:g}"]
    for name, total in counters.items():
        lines += [f"# TYPE vllm:{name} counter", f"vllm:{name}{{{labels}}} {total}"]
    lines.append("# TYPE vllm:request_success_total counter")
    for reason in ("stop", "length", "abort"):
        sample = f'vllm:request_success_total{{finished_reason="{reason}",{labels}}}'
        lines.append(f"{sample} {metrics.finished[reason]}")
    for name, histogram in histograms.items():
        lines += [f"# TYPE vllm:{name} histogram", *histogram.lines(f"vllm:{name}", labels)]
    config = f'block_size="{cache.block_size}",cache_dtype="auto",enable_prefix_caching="True",engine="0"'
    lines.append("# TYPE vllm:cache_config_info gauge")
    lines.append(f'vllm:cache_config_info{{{config},num_gpu_blocks="{cache.capacity}"}} 1')
    return "\n".join(lines) + "\n"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
