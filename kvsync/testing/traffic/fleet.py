"""A fleet of engines in simulated time: what prompts find in caches, and when their first tokens come.

Requests come when their trace says, however many wait (open loop). Each engine is the simulator's: vLLM's
blocks and continuous batching, in steps as long as the latency model says. Nothing waits for a clock, so a
run of the same seed gives the same numbers on any machine.

A router knows of a step's events when the step begins, which is when engines decide them; what the network
takes is left out, as it is three orders of magnitude below a step.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from kvsync.events import Event
from kvsync.simulator.blocks import BASE_MODEL, BlockCache
from kvsync.simulator.latency import LatencyModel
from kvsync.simulator.scheduler import EngineStep, Request, Scheduler
from kvsync.testing.traffic.trace import TraceRequest


class FleetRouter(Protocol):
    """What decides to which of the engines, which are numbered, a request goes."""

    def route(self, request: TraceRequest, running: Sequence[int], now_s: float) -> int:
        """Return the engine for a request; `running` are those that each has and that did not end."""

    def learn(self, engine: int, events: Sequence[Event]) -> None:
        """Take the events of an engine's step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetModel:
    """How many engines there are, what each holds (in blocks of so many tokens), and how fast it is."""

    engines: int
    capacity: int
    block_size: int
    latency: LatencyModel


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetResult:
    """What became of requests: their prompts' tokens, those found in a cache, and times to first tokens."""

    prompt_tokens: int
    cached_tokens: int
    ttft_s: Sequence[float]
    by_engine: Sequence[int]

    @property
    def hit_rate(self) -> float:
        """The share of prompt tokens that were not computed."""
        return self.cached_tokens / self.prompt_tokens


@dataclass(slots=True, eq=False)
class _Engine:
    scheduler: Scheduler
    step: EngineStep | None = None
    running: int = 0
    given: int = 0


@dataclass(slots=True)
class _Waiting:
    """Requests whose first token has not come, since when."""

    since_s: dict[str, float] = field(default_factory=dict)
    ttft_s: list[float] = field(default_factory=list)

    def first_token(self, name: str, now_s: float) -> None:
        if name in self.since_s:
            self.ttft_s.append(now_s - self.since_s.pop(name))


def serve(requests: Sequence[TraceRequest], router: FleetRouter, model: FleetModel) -> FleetResult:
    """Serve requests with engines whose caches are empty at first. Raises ValueError if some were not."""
    engines = [
        _Engine(Scheduler(BlockCache(model.capacity, model.block_size, seed)))
        for seed in range(model.engines)
    ]
    order, waiting, every = count(), _Waiting(), list[Request]()
    # (when, order, engine whose step ends or -1, number of the request that arrives)
    agenda = [(request.at_s, next(order), -1, number) for number, request in enumerate(requests)]
    heapq.heapify(agenda)
    while agenda:
        now_s, _, which, number = heapq.heappop(agenda)
        if which < 0:
            request = requests[number]
            which = router.route(request, [engine.running for engine in engines], now_s)
            every.append(_submit(engines[which], request))
            waiting.since_s[every[-1].name] = now_s
        else:
            _complete(engines[which], waiting, now_s)
        took_s = _begin(engines[which], which, router, model.latency)
        if took_s is not None:
            heapq.heappush(agenda, (now_s + took_s, next(order), which, -1))
    if waiting.since_s:
        raise ValueError(f"{len(waiting.since_s)} requests got no token; is a prompt longer than a cache?")
    return FleetResult(
        prompt_tokens=sum(each.prompt_tokens for each in every),
        cached_tokens=sum(each.cached_tokens or 0 for each in every),
        ttft_s=waiting.ttft_s,
        by_engine=[engine.given for engine in engines],
    )


def _submit(engine: _Engine, asked: TraceRequest) -> Request:
    request = Request(
        name=str(asked.number),
        tokens=[*asked.token_ids],
        scope=BASE_MODEL,
        max_tokens=asked.max_tokens,
        seed=0,
    )
    engine.scheduler.add(request)
    engine.running += 1
    engine.given += 1
    return request


def _complete(engine: _Engine, waiting: _Waiting, now_s: float) -> None:
    assert engine.step
    for output in engine.scheduler.complete(engine.step):
        waiting.first_token(output.request.name, now_s)
        engine.running -= output.is_last
    engine.step = None


def _begin(engine: _Engine, number: int, router: FleetRouter, latency: LatencyModel) -> float | None:
    """Begin a step, if there is work and none is under way; returns what it takes."""
    if engine.step or engine.scheduler.is_idle:
        return None
    step = engine.scheduler.schedule()
    router.learn(number, step.events)
    if not step.computed:
        return None
    engine.step = step
    return latency.step_s(step.prefill_tokens)
