"""From a prompt's tokens to the order in which pods are asked: hash, match, rank.

Pods that do not answer their probes come last rather than never: when all are unhealthy, the probes may be
at fault, and a request that could be served must not be refused.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kvsync.config import GatewayConfig
from kvsync.gateway.catalog import Cards, Target, resolve
from kvsync.gateway.completion import TokenIds
from kvsync.gateway.load import RunningRequests
from kvsync.hashing import block_hashes
from kvsync.index import PrefixIndex
from kvsync.pods import Pod
from kvsync.routing import Candidate, Choice, Policy, rank
from kvsync.sequence import State

PERCENT_BUCKETS = ((0, "0"), (25, "1-25"), (50, "26-50"), (75, "51-75"), (100, "76-100"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which pods to ask, best first, for a prompt of `tokens` tokens and `blocks` full blocks."""

    choices: tuple[Choice, ...]
    tokens: int
    blocks: int
    block_size: int

    def predicted_cached_tokens(self, choice: Choice) -> int:
        """Say how many prompt tokens the pod will not compute: never the last one, and only full blocks."""
        return min(choice.matched_blocks * self.block_size, last_full_block(self.tokens, self.block_size))

    def match_percent(self, choice: Choice) -> str:
        """Return the bucket of how much of the prompt the pod holds, as a metric label."""
        return percent_bucket(choice.matched_blocks, self.blocks)


def last_full_block(tokens: int, block_size: int) -> int:
    """Return how many of `tokens` tokens an engine can take from its cache at most: it computes one."""
    return max(0, tokens - 1) // block_size * block_size


def percent_bucket(matched: int, blocks: int) -> str:
    """Return the label of `matched` of `blocks`, in AIBrix' wording; any match is more than 0."""
    percent = math.ceil(100 * matched / blocks) if blocks else 0
    return next(label for bound, label in PERCENT_BUCKETS if percent <= bound)


class Router:
    """Ranks the pods of a target for one prompt."""

    def __init__(
        self,
        config: GatewayConfig,
        index: PrefixIndex,
        *,
        pods: Callable[[], Sequence[Pod]],
        state: Callable[[str], State],
        cards: Cards,
        healthy: Callable[[Pod], bool],
        load: RunningRequests,
        rng: random.Random,
    ) -> None:
        self._config = config
        self._index = index
        self._pods = pods
        self._state = state
        self._cards = cards
        self._healthy = healthy
        self._load = load
        self._rng = rng
        self._policy = Policy(imbalance_after=config.routing.imbalance_after, sigma=config.routing.sigma)

    def resolve(self, model: str) -> Target:
        """Find who serves `model`. Raises UnknownName with the models that are served."""
        return resolve(model, self._pods(), self._cards)

    def tokenizers(self, target: Target) -> list[str]:
        """Return the base URLs of the target's pods, healthy ones with the least to do first."""
        order = sorted(target.pods, key=lambda pod: (not self._healthy(pod), self._load.of(pod.name)))
        return [pod.url for pod in order]

    def hashes(self, tokens: TokenIds, cache_salt: str | None) -> list[int]:
        """Hash the full blocks of a prompt; like vLLM, a salt enters the first block."""
        extra = [(cache_salt,)] if cache_salt else None
        return block_hashes(tokens, self._config.block_size, seed=self._config.hash_seed, extra=extra)

    def match(self, target: Target, hashes: list[int]) -> Mapping[str, int]:
        """Return how many leading blocks of the prompt each pod holds; pods without any are left out."""
        return self._index.match(target.model, target.lora, hashes)

    def route(self, target: Target, tokens: TokenIds | None, cache_salt: str | None) -> Route:
        """Rank the pods of `target`; None as `tokens` means that they are not known."""
        hashes = self.hashes(tokens, cache_salt) if tokens and self._config.sync_enabled else []
        matched = self.match(target, hashes) if hashes else {}
        choices: list[Choice] = []
        for healthy in (True, False):
            candidates = [
                Candidate(
                    pod=pod.name,
                    matched_blocks=matched.get(pod.name, 0),
                    running=self._load.of(pod.name),
                    state=self._state(pod.name),
                )
                for pod in target.pods
                if self._healthy(pod) is healthy
            ]
            choices += rank(candidates, self._policy, self._rng)
        return Route(
            choices=tuple(choices),
            tokens=len(tokens or ()),
            blocks=len(hashes),
            block_size=self._config.block_size,
        )
