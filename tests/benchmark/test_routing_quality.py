"""What routing by events is worth: caches hit, and simulated times to first tokens, against other routers.

Each router begins with empty caches, and requests come when the trace says. One token stands for sixteen, in
prompts, blocks and prices. These are of a model of some ten billion parameters, which computes 10,000 tokens
of a prompt in a second. Answers are cut: they cost a step each, and say little about prefixes.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kvsync.simulator.latency import LatencyModel
from kvsync.testing.benchmarks.gauge import Gauge
from kvsync.testing.results.measurement import Measurements, quantile
from kvsync.testing.results.verdicts import NotRun
from kvsync.testing.traffic.fleet import FleetModel, serve
from kvsync.testing.traffic.routers import ROUTERS
from kvsync.testing.traffic.trace import TraceRequest, generate, mooncake, thinned

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

THINNED = 16
ANSWER_TOKENS = 16
FLEET = FleetModel(
    engines=8,
    capacity=25_000,
    block_size=64 // THINNED,
    latency=LatencyModel(ttft_base_ms=10, prefill_ms_per_token=0.1 * THINNED, inter_token_ms=30),
)
"""Each engine holds 1.6 million tokens."""


Workload = Callable[[Path | None, int], Sequence[TraceRequest]]


def recorded(path: Path | None, seed: int) -> Sequence[TraceRequest]:
    """Return the first five minutes of a trace from production, whose prompts have 14,000 tokens."""
    if path is None:
        raise NotRun("there is no trace; give one in Mooncake's format with `kvsync-ci run --trace FILE`")
    return thinned(mooncake(path, model="m", limit=1000, max_tokens=ANSWER_TOKENS), THINNED)


def conversations(path: Path | None, seed: int) -> Sequence[TraceRequest]:
    """Return talks that begin with one of four system prompts and grow with each turn."""
    return generate(seed, 1000, model="m", rate_per_s=8, max_tokens=ANSWER_TOKENS)


def strangers(path: Path | None, seed: int) -> Sequence[TraceRequest]:
    """Return prompts that share nothing: no router can win anything."""
    made = generate(seed, 500, model="m", rate_per_s=4, max_tokens=ANSWER_TOKENS)
    return [replace(each, token_ids=(each.number, *each.token_ids[1:])) for each in made]


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("workload", [recorded, conversations, strangers], ids=lambda each: each.__name__)
def test_routing_quality(
    workload: Workload, router: str, trace_path: Path | None, seed: int, measurements: Measurements
) -> None:
    """Every request gets its first token, and what strangers ask is found in no cache."""
    requests = workload(trace_path, seed)

    served = serve(requests, ROUTERS[router](FLEET, random.Random(seed)), FLEET)

    assert len(served.ttft_s) == len(requests)
    assert (served.hit_rate == 0) == (workload is strangers)
    gauge = Gauge(measurements, "routing quality", {"workload": workload.__name__, "router": router})
    gauge.record("hit_rate", served.hit_rate, "ratio", samples=len(requests), better="higher")
    gauge.record("busiest_engine", max(served.by_engine) / len(requests), "ratio", samples=len(requests))
    gauge.record("idlest_engine", min(served.by_engine) / len(requests), "ratio", samples=len(requests))
    for share in (0.5, 0.9, 0.99):
        value = quantile(served.ttft_s, share)
        gauge.record(f"simulated_ttft_p{share * 100:.0f}", value, "s", samples=len(requests))
