"""A fleet in simulated time: when first tokens come, what is cached, and what each router knows."""

import random
from collections.abc import Sequence

import pytest

from kvsync.events import Event
from kvsync.simulator.latency import LatencyModel
from kvsync.testing.traffic.fleet import FleetModel, serve
from kvsync.testing.traffic.routers import ROUTERS
from kvsync.testing.traffic.trace import TraceRequest, generate, thinned

FLEET = FleetModel(
    engines=2,
    capacity=64,
    block_size=4,
    latency=LatencyModel(ttft_base_ms=100, prefill_ms_per_token=10, inter_token_ms=50),
)


class First:
    """Sends everything to the first engine and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.running: list[Sequence[int]] = []

    def route(self, request: TraceRequest, running: Sequence[int], now_s: float) -> int:
        """See FleetRouter."""
        self.running.append(running)
        return 0

    def learn(self, engine: int, events: Sequence[Event]) -> None:
        """See FleetRouter."""
        self.told += [(engine, len(events))] * bool(events)


def asked(number: int, at_s: float, tokens: Sequence[int], max_tokens: int = 2) -> TraceRequest:
    """Return a request."""
    return TraceRequest(number=number, at_s=at_s, model="m", token_ids=tuple(tokens), max_tokens=max_tokens)


def test_times_are_those_of_the_model() -> None:
    """Ten tokens take 0.2 s; of the same ten later two blocks are cached, and two tokens take 0.12 s."""
    router = First()

    served = serve([asked(0, 0.0, range(10)), asked(1, 1.0, range(10))], router, FLEET)

    assert served.ttft_s == pytest.approx([0.2, 0.12])
    assert (served.prompt_tokens, served.cached_tokens, served.hit_rate) == (20, 8, 0.4)
    assert list(served.by_engine) == [2, 0]
    assert router.told == [(0, 1)]
    assert router.running == [[0, 0], [0, 0]]


def test_a_request_waits_for_the_step_that_is_under_way() -> None:
    """It came 0.1 s into a step of 0.2 s, and its own step takes 0.2 s: 0.3 s after it came."""
    served = serve([asked(0, 0.0, range(10)), asked(1, 0.1, range(50, 60))], First(), FLEET)

    assert served.ttft_s == pytest.approx([0.2, 0.3])


def test_a_prompt_that_fits_no_cache_is_an_error() -> None:
    """It would wait for ever, and its time to the first token would be missing from the numbers."""
    with pytest.raises(ValueError, match="1 requests got no token"):
        serve([asked(0, 0.0, range(1000))], First(), FLEET)


@pytest.mark.parametrize("router", ROUTERS)
def test_the_same_seed_gives_the_same_numbers(router: str) -> None:
    """Nothing depends on a clock."""
    requests = thinned(generate(3, 60, model="m", rate_per_s=2), 8)
    model = FleetModel(engines=3, capacity=400, block_size=2, latency=FLEET.latency)

    first, second = (serve(requests, ROUTERS[router](model, random.Random(1)), model) for _ in range(2))

    assert first == second
    assert sum(first.by_engine) == len(first.ttft_s) == 60


def test_a_thinned_trace_shares_what_was_shared() -> None:
    """One token of each two: 4 of 8 are left, and two prompts that share 4 tokens share 2."""
    first, second = thinned([asked(0, 0, range(8)), asked(1, 0, (0, 1, 2, 3, 9, 9, 9, 9))], 2)

    assert first.token_ids == (0, 2, 4, 6)
    assert second.token_ids == (0, 2, 9, 9)
