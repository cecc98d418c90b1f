"""Why a prompt goes where it goes, said of each pod, for people. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kvsync.routing import Bounds, Candidate, Choice, Policy, bounds_of, pull
from kvsync.sequence import State

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What was weighed for a prompt, and the order in which pods would be asked.

    `blocks` are the prompt's own hashes by block size, as `/index/dump` names them.
    """

    healthy: tuple[Candidate, ...]
    unhealthy: tuple[Candidate, ...]
    choices: tuple[Choice, ...]
    policy: Policy
    tokens: tuple[int, ...]
    blocks: Mapping[int, tuple[int, ...]]

    def to_json(self) -> Json:
        """Write the order, the rule behind the first choice, and what was weighed."""
        first = self.choices[0] if self.choices else None
        answer: Json = {
            "order": [choice.pod for choice in self.choices],
            "selection": first.selection.value if first else None,
            "predicted_cached_tokens": first.cached_tokens if first else 0,
            "tokens": len(self.tokens),
            "candidates": [],
        }
        if self.healthy:
            bounds = bounds_of(self.healthy, self.policy)
            answer["bounds"] = {
                "load_with_prefix": round(bounds.load, 2),
                "load_with_expected_prefix": round(bounds.expected_load, 2),
                "only_the_idlest": bounds.is_imbalanced,
            }
            idlest = min(candidate.running for candidate in self.healthy)
            answer["candidates"] = [*_weighed(self.healthy, bounds, idlest), *map(_unhealthy, self.unhealthy)]
        elif self.unhealthy:
            answer["candidates"] = [*map(_unhealthy, self.unhealthy)]
        answer["token_ids"] = self.tokens
        answer["blocks"] = {size: [f"{own:016x}" for own in owns] for size, owns in self.blocks.items()}
        return answer


def _weighed(candidates: tuple[Candidate, ...], bounds: Bounds, idlest: int) -> Iterator[Json]:
    order = sorted(candidates, key=lambda each: (-pull(each, bounds), each.running, each.pod, each.rank or 0))
    for candidate in order:
        is_out = bounds.is_imbalanced and candidate.running > idlest
        counts = 0 if is_out else pull(candidate, bounds)
        yield {**_seen(candidate), "counts": counts, "why": _why(candidate, bounds, idlest)}


def _why(candidate: Candidate, bounds: Bounds, idlest: int) -> str:
    """Say how much of what a candidate holds counts, and why not all of it."""
    held, expected, load = candidate.cached_tokens, candidate.expected_tokens, candidate.running
    if bounds.is_imbalanced and load > idlest:
        return f"passed over: it has {load} requests, the idlest {idlest}: so much more outweighs a prefix"
    if candidate.state is State.BLIND:
        return "not connected: what it was known to hold does not count"
    if not (candidate.matched_blocks or expected):
        return "holds none of the prompt: its load decides"
    if load <= bounds.load and candidate.matched_blocks:
        return f"holds {candidate.matched_blocks} blocks, of which it would reuse {held} tokens"
    if expected and load <= bounds.expected_load:
        return f"is expected to hold {expected} tokens soon: a request with them was just sent there"
    return f"holds {held} tokens, but has {load} requests where {bounds.load:.2f} are allowed"


def _unhealthy(candidate: Candidate) -> Json:
    return {**_seen(candidate), "counts": 0, "why": "does not answer its probes: asked after all others"}


def _seen(candidate: Candidate) -> Json:
    return {
        "pod": candidate.pod,
        "rank": candidate.rank,
        "state": candidate.state.value,
        "running": candidate.running,
        "matched_blocks": candidate.matched_blocks,
        "block_size": candidate.block_size if candidate.matched_blocks else None,
        "cached_tokens": candidate.cached_tokens,
        "expected_tokens": candidate.expected_tokens,
    }
