"""Continuous batching as vLLM V1's scheduler does it: one step at a time, without clock or tasks.

Each step gives every running request its outstanding tokens (the rest of its prompt, or the token it
generated last), then admits waiting requests while budget, seats and blocks last. A long prompt is computed
in chunks. When blocks run out, the request admitted last is preempted: it loses its blocks and waits at the
front of the queue. A request whose outstanding tokens were all computed generates one token. So the last
token a request generates is never computed and never cached.
"""

import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import xxhash

from kvsync.events import Event
from kvsync.simulator.blocks import READING, BlockCache, CacheScope, CacheUse, OutOfBlocks

ALPHABET = b"etaoin shrdlu cmfwyp "
"""The token ids an answer is made of: the code points of common letters and blanks."""


@dataclass(slots=True, eq=False, kw_only=True)
class Request:
    """One sequence on its way through the engine. `tokens` is the prompt followed by the answer."""

    name: str
    tokens: list[int]
    scope: CacheScope
    max_tokens: int
    seed: int
    use: CacheUse = READING
    prompt_tokens: int = field(init=False)
    computed: int = 0
    cached_tokens: int | None = None

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.tokens)
        prompt = struct.pack(f"<{self.prompt_tokens}I", *self.tokens)
        adapter = (self.scope.lora_name or "").encode()
        self.seed = xxhash.xxh3_64_intdigest(prompt + adapter, seed=self.seed)

    @property
    def is_done(self) -> bool:
        """Whether the answer is as long as it was to become."""
        return len(self.tokens) == self.prompt_tokens + self.max_tokens

    def generate(self) -> int:
        """Append the next token of the answer: a function of seed, model, prompt and position alone."""
        position = len(self.tokens).to_bytes(8, "little")
        token = ALPHABET[xxhash.xxh3_64_intdigest(position, seed=self.seed) % len(ALPHABET)]
        self.tokens.append(token)
        return token


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStep:
    """What the engine computes next, and what that did to its cache."""

    events: tuple[Event, ...]
    computed: tuple[Request, ...]
    prefill_tokens: int
    preempted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A generated token; `is_last` when the request ended with it."""

    request: Request
    token: int
    is_last: bool


class Scheduler:
    """Requests waiting and running on one block cache. Does no I/O."""

    def __init__(self, cache: BlockCache, *, max_num_seqs: int = 256, max_batched_tokens: int = 8192) -> None:
        self.cache = cache
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self._seats, self._budget = max_num_seqs, max_batched_tokens

    @property
    def is_idle(self) -> bool:
        """Whether a step would have nothing to do."""
        return not self.waiting and not self.running

    def add(self, request: Request) -> None:
        """Queue a request; the caller has checked that it fits into the empty cache."""
        self.waiting.append(request)

    def abort(self, request: Request) -> None:
        """Drop a request whose client has gone; one that has already ended is not an error."""
        if request in self.waiting:
            self.waiting.remove(request)
        elif request in self.running:
            self._release(request)

    def schedule(self) -> EngineStep:
        """Decide one step; its blocks are allocated, cached and announced when this returns."""
        plan = _Plan(self._budget)
        self._advance(plan)
        self._admit(plan)
        return EngineStep(
            events=tuple(plan.events),
            computed=tuple(plan.computed),
            prefill_tokens=plan.prefill_tokens,
            preempted=plan.preempted,
        )

    def complete(self, step: EngineStep) -> list[Output]:
        """Take the tokens that the computed step generated; requests aborted meanwhile give none."""
        outputs = []
        for request in step.computed:
            if request.computed == len(request.tokens) and request in self.running:
                token = request.generate()
                outputs.append(Output(request=request, token=token, is_last=request.is_done))
                if request.is_done:
                    self._release(request)
        return outputs

    def _release(self, request: Request) -> None:
        self.running.remove(request)
        self.cache.free(request.name)

    def _advance(self, plan: "_Plan") -> None:
        position = 0
        while position < len(self.running) and plan.budget:
            request = self.running[position]
            chunk = request.tokens[request.computed : request.computed + plan.budget]
            if not self._make_room(request, chunk, plan):
                return
            plan.take(request, len(chunk))
            position += 1

    def _make_room(self, request: Request, chunk: Sequence[int], plan: "_Plan") -> bool:
        """Compute `chunk`, preempting from the back; False when the request itself had to go."""
        while request in self.running:
            try:
                plan.events += self.cache.extend(request.name, chunk)
            except OutOfBlocks:
                self._preempt(self.running[-1])
                plan.preempted += 1
            else:
                return True
        return False

    def _preempt(self, request: Request) -> None:
        self._release(request)
        self.waiting.appendleft(request)

    def _admit(self, plan: "_Plan") -> None:
        while self.waiting and len(self.running) < self._seats and plan.budget:
            request = self.waiting[0]
            try:
                got = self.cache.allocate(
                    request.name, request.tokens, request.scope, plan.budget, request.use
                )
            except OutOfBlocks:
                return
            self.running.append(self.waiting.popleft())
            request.computed = got.cached_tokens
            if request.cached_tokens is None:
                request.cached_tokens = got.cached_tokens
            plan.events += got.events
            plan.take(request, min(plan.budget, len(request.tokens) - request.computed))


@dataclass(slots=True)
class _Plan:
    """A step while it is being decided."""

    budget: int
    events: list[Event] = field(default_factory=list)
    computed: list[Request] = field(default_factory=list)
    prefill_tokens: int = 0
    preempted: int = 0

    def take(self, request: Request, tokens: int) -> None:
        is_decode = request.computed >= request.prompt_tokens and tokens == 1
        self.prefill_tokens += 0 if is_decode else tokens
        self.budget -= tokens
        self.computed.append(request)
        request.computed += tokens
