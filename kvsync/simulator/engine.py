"""The engine in time: the scheduler's steps one after another, each as long as the latency model says."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

from kvsync.errors import KVSyncError
from kvsync.events import Event
from kvsync.simulator.blocks import READING, CacheScope, CacheUse, OutOfBlocks
from kvsync.simulator.latency import LatencyModel
from kvsync.simulator.metrics import EngineMetrics
from kvsync.simulator.scheduler import Output, Request, Scheduler

FinishReason = Literal["length", "stop"]


class EngineRestarted(KVSyncError):
    """The engine was restarted while it worked on a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What to answer: `max_tokens` tokens, after which the answer ends for the reason `ending`."""

    token_ids: Sequence[int]
    scope: CacheScope
    max_tokens: int
    ending: FinishReason = "length"
    use: CacheUse = READING


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token of the answer to the prompt at `index`; `ending` is None until its last token."""

    index: int
    token: int
    cached_tokens: int
    ending: FinishReason | None


@dataclass(slots=True, kw_only=True)
class _Client:
    """What waits for the tokens of a request, and since when."""

    index: int
    prompt: Generation
    queue: "asyncio.Queue[Token | None]"
    submitted: float
    last: float | None = None


class Engine:
    """Answers prompts. `run` must be running; everything else may be called from the same event loop.

    `announce` gets all events of one step at once, in the same turn of the loop in which the cache changed.
    """

    def __init__(
        self,
        build: Callable[[], Scheduler],
        *,
        announce: Callable[[Sequence[Event]], None],
        latency: LatencyModel,
        seed: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.scheduler = build()
        self.metrics = EngineMetrics()
        self._build, self._announce, self._latency, self._seed = build, announce, latency, seed
        self._clock, self._sleep = clock, sleep
        self._clients: dict[Request, _Client] = {}
        self._numbers = count()
        self._unannounced: list[Event] = []
        self._work = asyncio.Event()

    async def run(self) -> None:
        """Step while there is work, until cancelled; uses no processor time when idle."""
        while True:
            await self._work.wait()
            await self._step()
            if self.scheduler.is_idle:
                self._work.clear()

    async def generate(self, prompts: Sequence[Generation]) -> AsyncGenerator[Token]:
        """Answer prompts side by side, giving each token as it comes.

        Closing the iterator early frees the blocks. Raises EngineRestarted.
        """
        queue: asyncio.Queue[Token | None] = asyncio.Queue()
        requests = [self._submit(index, prompt, queue) for index, prompt in enumerate(prompts)]
        unfinished = len(requests)
        try:
            while unfinished:
                token = await queue.get()
                if token is None:
                    raise EngineRestarted(
                        "the engine was restarted before the answer was complete; try again"
                    )
                unfinished -= token.ending is not None
                yield token
        finally:
            for request in requests:
                self._drop(request)

    def clear(self, *, late: bool = False) -> bool:
        """Empty the cache and announce it; refused, as by vLLM, while requests use blocks.

        If `late`, it is announced with the next step, as vLLM does it.
        """
        events = self.scheduler.cache.clear()
        self._unannounced += events
        if events and not late:
            self._tell(())
        return bool(events)

    def compute(self, token_ids: Sequence[int]) -> bool:
        """Compute and announce a prompt at once, without an answer; False when no blocks are free for it."""
        name = str(next(self._numbers))
        try:
            got = self.scheduler.cache.allocate(name, token_ids)
        except OutOfBlocks:
            return False
        self.scheduler.cache.free(name)
        self._tell(got.events)
        return True

    def restart(self) -> None:
        """Lose all requests and the cache, as a crash does; announces nothing."""
        self.scheduler = self._build()
        self._unannounced.clear()
        for client in self._clients.values():
            client.queue.put_nowait(None)
        self._clients.clear()

    def _submit(self, index: int, prompt: Generation, queue: "asyncio.Queue[Token | None]") -> Request:
        request = Request(
            name=str(next(self._numbers)),
            tokens=list(prompt.token_ids),
            scope=prompt.scope,
            max_tokens=prompt.max_tokens,
            seed=self._seed,
            use=prompt.use,
        )
        self._clients[request] = _Client(index=index, prompt=prompt, queue=queue, submitted=self._clock())
        self.scheduler.add(request)
        self._work.set()
        return request

    def _drop(self, request: Request) -> None:
        if self._clients.pop(request, None):
            self.scheduler.abort(request)
            self.metrics.finished["abort"] += 1

    async def _step(self) -> None:
        scheduler = self.scheduler
        step = scheduler.schedule()
        self.metrics.preemptions += step.preempted
        self._tell(step.events)
        await self._sleep(self._latency.step_s(step.prefill_tokens))
        if scheduler is self.scheduler:
            for output in scheduler.complete(step):
                self._deliver(output)

    def _tell(self, events: Sequence[Event]) -> None:
        """Announce events, and what was held back before them."""
        if told := (*self._unannounced, *events):
            self._unannounced.clear()
            self._announce(told)

    def _deliver(self, output: Output) -> None:
        request, client = output.request, self._clients[output.request]
        cached = request.cached_tokens or 0
        ending = client.prompt.ending if output.is_last else None
        client.queue.put_nowait(
            Token(index=client.index, token=output.token, cached_tokens=cached, ending=ending)
        )
        self._measure(client, cached)
        if ending:
            self.metrics.finished[ending] += 1
            self.metrics.request_s.observe(self._clock() - client.submitted)
            del self._clients[request]

    def _measure(self, client: _Client, cached: int) -> None:
        now = self._clock()
        self.metrics.generation_tokens += 1
        if client.last is None:
            self.metrics.prompt_tokens += len(client.prompt.token_ids)
            self.metrics.cached_tokens += cached
            self.metrics.first_token_s.observe(now - client.submitted)
        else:
            self.metrics.next_token_s.observe(now - client.last)
        client.last = now
