"""From a prompt's tokens to the order in which pods are asked: hash, match, rank.

Pods that do not answer their probes come last rather than never: when all are unhealthy, the probes may be
at fault, and a request that could be served must not be refused.
"""

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kvsync.config import GatewayConfig, PolicyName
from kvsync.events import Source
from kvsync.gateway.catalog import Cards, Catalog, Target, adapter_numbers
from kvsync.gateway.load import RunningRequests
from kvsync.gateway.operation.explanation import Explanation
from kvsync.gateway.text import TokenIds
from kvsync.hashing import block_hashes
from kvsync.index import ExpectedPrefixes, Match, Prompt
from kvsync.indexer.values import Indexer, Matches
from kvsync.pods import Pod
from kvsync.routing import Candidate, Choice, Policy, Selection, rank, rank_without_prefix
from kvsync.sequence import State

NOTHING = Match(blocks=0, block_size=1, cached_tokens=0)
"""What a pod holds that holds none of a prompt."""

PERCENT_BUCKETS = ((0, "0"), (25, "1-25"), (50, "26-50"), (75, "51-75"), (100, "76-100"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which pods to ask, best first, for a prompt of `tokens` tokens."""

    choices: tuple[Choice, ...]
    tokens: int
    policy: str = "prefix"

    def predicted_cached_tokens(self, choice: Choice) -> int:
        """Say how many prompt tokens the pod will not compute: never the last one, and only full blocks."""
        return choice.cached_tokens

    def match_percent(self, choice: Choice) -> str:
        """Return the bucket of how much of the prompt the pod holds, as a metric label."""
        return percent_bucket(choice.matched_blocks, self.tokens // choice.block_size)


def percent_bucket(matched: int, blocks: int) -> str:
    """Return the label of `matched` of `blocks`, in AIBrix' wording; any match is more than 0."""
    percent = math.ceil(100 * matched / blocks) if blocks else 0
    return next(label for bound, label in PERCENT_BUCKETS if percent <= bound)


class Router:
    """Ranks the pods of a target for one prompt."""

    def __init__(
        self,
        config: GatewayConfig,
        indexer: Indexer,
        *,
        catalog: Catalog,
        state: Callable[[str], State],
        cards: Cards,
        healthy: Callable[[Pod], bool],
        asleep: Callable[[Pod], bool] = lambda _: False,
        load: RunningRequests,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._indexer = indexer
        self._catalog = catalog
        self._state = state
        self._cards = cards
        self._healthy = healthy
        self._asleep = asleep
        self._load = load
        self._rng = rng
        self._turns: Counter[str] = Counter()  # requests of each model
        routing = config.routing
        self._policy = Policy(
            least_prefix_tokens=routing.least_prefix_tokens,
            imbalance_after=routing.imbalance_after,
            sigma=routing.sigma,
            expected_ahead=routing.expected_ahead,
        )
        self._expected = ExpectedPrefixes(for_s=routing.expected_s, most=routing.expected_blocks, clock=clock)

    async def find(self, model: str) -> Target:
        """Find the pods that serve `model` and do not sleep; the only model, if none is named.

        Raises UnknownName with the models there are, ValueError when one must be named.
        """
        forwards = self._config.routing.unlisted_models == "forward"
        target = await self._catalog.find(model or self._catalog.only_model(), forwards=forwards)
        return replace(target, pods=tuple(pod for pod in target.pods if not self._asleep(pod)))

    def tokenizers(self, target: Target) -> list[str]:
        """Return the base URLs of the target's pods, healthy ones with the least to do first."""
        order = sorted(target.pods, key=lambda pod: (not self._healthy(pod), self._load.total(pod.name)))
        return [pod.url for pod in order]

    async def match(self, target: Target, tokens: TokenIds, cache_salt: str | None) -> Matches:
        """Return what each rank holds of the beginning of a prompt; those without any are left out."""
        return await self._indexer.match(self._prompt(target, tokens, cache_salt))

    def _prompt(self, target: Target, tokens: TokenIds, cache_salt: str | None) -> Prompt:
        return Prompt(
            model=target.model,
            lora=target.lora,
            tokens=tokens,
            salt=cache_salt,
            lora_ids=self._numbers(target) if target.lora else {},
        )

    def _numbers(self, target: Target) -> dict[str, int]:
        """Return by what number each pod's events name the target's adapter, where they do."""
        numbers = {}
        for pod in target.pods:
            known = adapter_numbers(self._cards(pod), self._indexer.lora_ids(pod))
            if target.lora in known:
                numbers[pod.name] = known[target.lora]
        return numbers

    async def route(self, target: Target, tokens: TokenIds | None, cache_salt: str | None) -> Route:
        """Rank the pods of `target`; None as `tokens` means that they are not known.

        Other requests are told to expect the prompt at the first of them.
        """
        policy, choices = self._policy_name(), list[Choice]()
        self._turns[target.model] += 1
        groups, hashes = await self._candidates(target, tokens, cache_salt)
        for candidates in groups:
            choices += self._ranked(candidates, policy, self._turns[target.model])
        for first in choices[:1]:
            sources = next(pod.sources for pod in target.pods if pod.name == first.pod)
            self._expected.add(hashes, sources[first.rank or 0])
        return Route(choices=tuple(choices), tokens=len(tokens or ()), policy=policy)

    async def explain(self, target: Target, tokens: TokenIds | None, cache_salt: str | None) -> Explanation:
        """Say how the pods of `target` would be ranked now, without a request, by a policy of prefixes."""
        extra = [(cache_salt,)] if cache_salt else None
        await self._indexer.refresh()
        known = self._indexer.picture()
        (healthy, others), _ = await self._candidates(target, tokens, cache_salt)
        return Explanation(
            healthy=tuple(healthy),
            unhealthy=tuple(others),
            choices=tuple(rank(healthy, self._policy, self._rng) + rank(others, self._policy, self._rng)),
            policy=self._policy,
            tokens=tuple(tokens or ()),
            blocks={
                size: tuple(block_hashes(tokens or (), size, seed=known.hash_seed, extra=extra))
                for size in known.block_sizes.get(target.model, ())
            },
        )

    async def _candidates(
        self, target: Target, tokens: TokenIds | None, cache_salt: str | None
    ) -> tuple[list[list[Candidate]], list[int]]:
        """Return the healthy candidates and the others, and the hashes by which the prompt is expected."""
        matched: Mapping[Source, Match] = {}
        hashes: list[int] = []
        if tokens and self._config.sync_enabled:
            prompt = self._prompt(target, tokens, cache_salt)
            (matched, _), hashes = await self._indexer.match(prompt), self._expected.hashes(prompt)
        expected = self._expected.tokens(hashes)
        groups = [
            [
                self._candidate(pod, rank, matched, expected)
                for pod in target.pods
                if self._healthy(pod) is healthy
                for rank in self._ranks(pod)
            ]
            for healthy in (True, False)
        ]
        return groups, hashes

    def _policy_name(self) -> PolicyName:
        """Return the policy of the next request."""
        routing = self._config.routing
        is_compared = routing.compared_share and self._rng.random() < routing.compared_share
        return routing.compared_policy if is_compared else routing.policy

    def _ranked(self, candidates: Sequence[Candidate], policy: PolicyName, turn: int) -> list[Choice]:
        if policy == "prefix":
            return rank(candidates, self._policy, self._rng)
        return rank_without_prefix(candidates, Selection(policy), self._rng, turn)

    def _ranks(self, pod: Pod) -> Sequence[int | None]:
        """Return the ranks that may be asked for; an engine whose events are not followed chooses itself."""
        return range(pod.dp_size) if pod.dp_size > 1 and self._config.sync_enabled else (None,)

    def _candidate(
        self, pod: Pod, rank: int | None, matched: Mapping[Source, Match], expected: Mapping[Source, int]
    ) -> Candidate:
        source = pod.sources[rank or 0]
        found = matched.get(source, NOTHING)
        return Candidate(
            pod=pod.name,
            rank=rank,
            matched_blocks=found.blocks,
            block_size=found.block_size,
            cached_tokens=found.cached_tokens,
            expected_tokens=expected.get(source, 0),
            running=self._load.total(pod.name, rank),
            state=self._state(pod.name),
        )
