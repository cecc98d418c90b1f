"""Routers for a fleet: ours, and those that it is compared with.

The one that approximates knows no events: it takes for cached what it sent to an engine itself, as several
gateways do, and forgets the oldest when that is more than an engine holds. It weighs load by our rules, so
that only what it knows differs.
"""

import random
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from kvsync.config import RoutingConfig
from kvsync.events import Event, Source
from kvsync.hashing import block_hashes
from kvsync.index import ExpectedPrefixes, PrefixIndex, Prompt, lookup
from kvsync.routing import Candidate, Policy, Selection, choose, rank_without_prefix
from kvsync.testing.traffic.fleet import FleetModel, FleetRouter
from kvsync.testing.traffic.trace import TraceRequest

LONG_BLOCKS = 16
"""Of a fleet whose prompts all begin alike: what all share decides nothing, `least_prefix_tokens` says."""


class EventRouter:
    """Ours: the index that events keep, what is expected besides, and load, as `policy` weighs them."""

    def __init__(self, model: FleetModel, rng: random.Random, policy: Policy) -> None:
        self._policy = policy
        self._index, self._rng, self._now_s = PrefixIndex(model.block_size), rng, 0.0
        self._sources = [Source(str(number), "m") for number in range(model.engines)]
        settings = RoutingConfig()
        self._expected = ExpectedPrefixes(
            for_s=settings.expected_s, most=settings.expected_blocks, clock=lambda: self._now_s
        )

    def route(self, request: TraceRequest, running: Sequence[int], now_s: float) -> int:
        """See FleetRouter."""
        self._now_s = now_s
        prompt = Prompt(model="m", tokens=request.token_ids)
        matched, hashes = lookup(self._index, prompt), self._expected.hashes(prompt)
        expected = self._expected.tokens(hashes)
        candidates = [
            Candidate(
                pod=source.pod,
                matched_blocks=matched[source].blocks if source in matched else 0,
                block_size=matched[source].block_size if source in matched else 1,
                expected_tokens=expected.get(source, 0),
                running=its,
            )
            for source, its in zip(self._sources, running, strict=True)
        ]
        chosen = int(choose(candidates, self._policy, self._rng).pod)
        self._expected.add(hashes, self._sources[chosen])
        return chosen

    def learn(self, engine: int, events: Sequence[Event]) -> None:
        """See FleetRouter."""
        self._index.apply_batch(self._sources[engine], events)


class ApproximateRouter:
    """Takes for cached what it sent; `history` blocks for each engine, of which the oldest go first."""

    def __init__(self, model: FleetModel, rng: random.Random) -> None:
        self._size, self._history, self._rng = model.block_size, model.capacity, rng
        self._sent = [OrderedDict[int, None]() for _ in range(model.engines)]

    def route(self, request: TraceRequest, running: Sequence[int], now_s: float) -> int:
        """See FleetRouter."""
        hashes = block_hashes(request.token_ids, self._size)
        candidates = [
            Candidate(
                pod=str(number), matched_blocks=_known(sent, hashes), block_size=self._size, running=its
            )
            for number, (sent, its) in enumerate(zip(self._sent, running, strict=True))
        ]
        chosen = int(choose(candidates, Policy(), self._rng).pod)
        sent = self._sent[chosen]
        for own in reversed(hashes):  # a block is not forgotten before those after it
            sent[own] = None
            sent.move_to_end(own)
        while len(sent) > self._history:
            sent.popitem(last=False)
        return chosen

    def learn(self, engine: int, events: Sequence[Event]) -> None:
        """Ignore events."""


def _known(sent: Mapping[int, None], hashes: Sequence[int]) -> int:
    return next((number for number, own in enumerate(hashes) if own not in sent), len(hashes))


class BlindRouter:
    """Looks at no prompt."""

    def __init__(self, selection: Selection, rng: random.Random) -> None:
        self._selection, self._rng, self._turn = selection, rng, 0

    def route(self, request: TraceRequest, running: Sequence[int], now_s: float) -> int:
        """See FleetRouter."""
        self._turn += 1
        candidates = [Candidate(pod=f"{number:03}", running=its) for number, its in enumerate(running)]
        return int(rank_without_prefix(candidates, self._selection, self._rng, self._turn)[0].pod)

    def learn(self, engine: int, events: Sequence[Event]) -> None:
        """Ignore events."""


ROUTERS: Mapping[str, Callable[[FleetModel, random.Random], FleetRouter]] = {
    "events": lambda model, rng: EventRouter(model, rng, Policy()),
    "events, long prefixes": lambda model, rng: EventRouter(
        model, rng, Policy(least_prefix_tokens=LONG_BLOCKS * model.block_size)
    ),
    "approximate prefix": ApproximateRouter,
    "least request": lambda _, rng: BlindRouter(Selection.LEAST_REQUEST, rng),
    "round robin": lambda _, rng: BlindRouter(Selection.ROUND_ROBIN, rng),
}
"""What makes a router for one run, by its name."""
