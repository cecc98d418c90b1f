"""Candidates in, choice out: the pod that holds most of the prompt, unless it is too busy.

Each data-parallel rank of a pod is a candidate of its own; a pod that fails is not asked for another one.

Rules, in order:

1. When the busiest and the idlest candidate are more than `imbalance_after` requests apart, only the idlest
   ones may serve.
2. The longest cached prefix comes first, then the fewest running requests, then chance.
3. A pod with a prefix serves if its load is at most the mean plus `sigma` standard deviations of all
   candidates; otherwise the next one is considered.
4. A prefix that a pod is expected to hold soon, as a request with it was just sent there, counts like a
   cached one; there the load may also be `expected_ahead` requests above the lowest.
5. A prefix of fewer than `least_prefix_tokens` tokens counts as none.
6. Without a prefix that may be used, the idlest candidate serves.

Reasons: a cached prefix saves prefill work but not a queue, so load bounds how far it may pull requests
together. Requests that wait behind one with the same prefix find it computed: they may wait for a few more.
What is known of a source that is not connected is stale, so its matches do not count. Mean and
sample deviation (n - 1) over all candidates follow AIBrix, so that its settings keep their meaning.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from operator import itemgetter

from kvsync.errors import NoPodReady
from kvsync.sequence import State


class Selection(Enum):
    """Why a pod was chosen."""

    PREFIX_MATCH = "prefix_match"
    EXPECTED_PREFIX = "expected_prefix"
    PREFIX_MATCH_SKIPPED = "prefix_match_skipped"
    LEAST_REQUEST = "least_request"
    LOAD_IMBALANCE = "load_imbalance"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A pod that could serve: what it holds of the prompt, requests it runs, how far its state is known.

    Of a pod with several data-parallel ranks it is one of them: `rank`, counted from the pod's first.
    `matched_blocks` are of `block_size` tokens; `cached_tokens` is what it would not have to compute, and
    `expected_tokens` what of the prompt is on its way there with other requests.
    """

    pod: str
    rank: int | None = None
    matched_blocks: int = 0
    block_size: int = 1
    cached_tokens: int = 0
    expected_tokens: int = 0
    running: int = 0
    state: State = State.EXACT


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How much load may weigh against a cached prefix; see the rules above."""

    imbalance_after: int = 8
    sigma: float = 1.0
    expected_ahead: int = 4
    least_prefix_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chosen pod, and why; `matched_blocks` is what it holds even where that was not the reason."""

    pod: str
    rank: int | None = None
    matched_blocks: int
    selection: Selection
    state: State
    block_size: int = 1
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Up to which load (requests) a held or an expected prefix counts; whether only the idlest may serve.

    A prefix of fewer than `least_prefix_tokens` tokens counts as none.
    """

    load: float
    expected_load: float
    is_imbalanced: bool
    least_prefix_tokens: int


def choose(candidates: Sequence[Candidate], policy: Policy, rng: random.Random) -> Choice:
    """Return the pod to serve a request; raises NoPodReady only when there is no candidate."""
    if not candidates:
        raise NoPodReady("no ready pod serves this model")
    return rank(candidates, policy, rng)[0]


def rank(candidates: Sequence[Candidate], policy: Policy, rng: random.Random) -> list[Choice]:
    """Return the best candidate of each pod, best first: the order in which to try them."""
    if not candidates:
        return []
    bounds = bounds_of(candidates, policy)
    is_imbalanced = bounds.is_imbalanced
    by_load = sorted(rng.sample(candidates, len(candidates)), key=lambda candidate: candidate.running)
    allowed = [c for c in by_load if c.running == by_load[0].running] if is_imbalanced else by_load
    pulls = [(pull(c, bounds), c) for c in allowed]
    # Sorting is stable, so load and chance still order equal prefixes.
    holders = [c for its_pull, c in sorted(pulls, key=itemgetter(0), reverse=True) if its_pull]
    otherwise = _without_prefix(candidates, bounds)
    order = [_choice(c, _with_prefix(c, bounds)) for c in holders] + [_choice(c, otherwise) for c in by_load]
    best: dict[str, Choice] = {}
    for choice in order:
        best.setdefault(choice.pod, choice)
    return [*best.values()]


def rank_without_prefix(
    candidates: Sequence[Candidate], selection: Selection, rng: random.Random, turn: int = 0
) -> list[Choice]:
    """Return the candidates of each pod in the order of a policy that looks at no prefix.

    Such policies are there to be compared with. Pods take turns in the order of their names for ROUND_ROBIN,
    as `turn` says; with LEAST_REQUEST the idlest come first; with RANDOM chance decides.
    """
    order = rng.sample(candidates, len(candidates))
    if selection is Selection.LEAST_REQUEST:
        order.sort(key=lambda candidate: candidate.running)
    elif selection is Selection.ROUND_ROBIN and order:
        order.sort(key=lambda candidate: (candidate.pod, candidate.rank or 0))
        first = turn % len(order)
        order = order[first:] + order[:first]
    best: dict[str, Choice] = {}
    for candidate in order:
        best.setdefault(candidate.pod, _choice(candidate, selection))
    return [*best.values()]


def bounds_of(candidates: Sequence[Candidate], policy: Policy) -> Bounds:
    """Return what the loads of all candidates together allow; there must be one."""
    loads = [candidate.running for candidate in candidates]
    limit = _load_limit(loads, policy.sigma)
    return Bounds(
        load=limit,
        expected_load=max(limit, min(loads) + policy.expected_ahead),
        is_imbalanced=max(loads) - min(loads) > policy.imbalance_after,
        least_prefix_tokens=policy.least_prefix_tokens,
    )


def _load_limit(loads: Sequence[int], sigma: float) -> float:
    mean = sum(loads) / len(loads)
    squares = sum((load - mean) ** 2 for load in loads)  # statistics.stdev is exact and ten times slower
    return mean + sigma * math.sqrt(squares / max(1, len(loads) - 1))


def _prefix(candidate: Candidate, bounds: Bounds) -> int:
    held = candidate.matched_blocks * candidate.block_size
    return 0 if candidate.state is State.BLIND or held < bounds.least_prefix_tokens else held


def _expected(candidate: Candidate, bounds: Bounds) -> int:
    tokens = candidate.expected_tokens
    return 0 if candidate.state is State.BLIND or tokens < bounds.least_prefix_tokens else tokens


def pull(candidate: Candidate, bounds: Bounds) -> int:
    """Return how many tokens of the prompt speak for a candidate, as far as its load allows."""
    held = _prefix(candidate, bounds) if candidate.running <= bounds.load else 0
    return max(held, _expected(candidate, bounds) if candidate.running <= bounds.expected_load else 0)


def _with_prefix(candidate: Candidate, bounds: Bounds) -> Selection:
    is_expected = _expected(candidate, bounds) > _prefix(candidate, bounds)
    return Selection.EXPECTED_PREFIX if is_expected else Selection.PREFIX_MATCH


def _without_prefix(candidates: Sequence[Candidate], bounds: Bounds) -> Selection:
    """Return why a pod serves that was not chosen for its prefix."""
    if bounds.is_imbalanced:
        return Selection.LOAD_IMBALANCE
    skipped = any(_prefix(candidate, bounds) for candidate in candidates)
    return Selection.PREFIX_MATCH_SKIPPED if skipped else Selection.LEAST_REQUEST


def _choice(candidate: Candidate, selection: Selection) -> Choice:
    return Choice(
        pod=candidate.pod,
        rank=candidate.rank,
        matched_blocks=candidate.matched_blocks,
        block_size=candidate.block_size,
        cached_tokens=candidate.cached_tokens,
        selection=selection,
        state=candidate.state,
    )
