"""How much of a prompt each engine would take from its cache, whatever size, salt and names it uses."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from kvsync.events import Source
from kvsync.hashing import PromptHashes
from kvsync.index.prefixes import PrefixIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What to look up. `lora_ids` are the numbers that pods may name the adapter by, by pod."""

    model: str
    lora: str = ""
    tokens: Sequence[int]
    salt: str | None = None
    lora_ids: Mapping[str, int] = field(default_factory=dict)


class Match(NamedTuple):
    """What a rank holds of a prompt, in full blocks of `block_size` tokens, and how many tokens it reuses."""

    blocks: int
    block_size: int
    cached_tokens: int


def lookup(index: PrefixIndex, prompt: Prompt) -> dict[Source, Match]:
    """Return the match of each rank that holds some of the prompt, hashing it once for each block size.

    Like vLLM, a salt enters the first block. Engines that announce no such keys are matched by tokens alone:
    what they hold with a salt cannot be told from the rest. An engine computes the last token at least.
    """
    found: dict[Source, Match] = {}
    for size in index.block_sizes(prompt.model):
        for salt, keyed in ((None, None),) if not prompt.salt else ((prompt.salt, True), (None, False)):
            extra = [(salt,)] if salt else None
            hashes = PromptHashes(prompt.tokens, size, seed=index.seed, extra=extra)
            for lora, pods in _names(prompt):
                match = partial(
                    index.match_sources, prompt.model, lora, pods=pods, block_size=size, keyed=keyed
                )
                last = max(0, len(prompt.tokens) - 1) // size
                held = match(hashes)
                used = match(hashes[:last]) if held and index.has_groups and last < len(hashes) else held
                for source, blocks in held.items():
                    its = Match(blocks, size, min(used.get(source, 0), last) * size)
                    if source not in found or _tokens(its) > _tokens(found[source]):
                        found[source] = its
    return found


def best_ranks(found: Mapping[Source, Match]) -> dict[str, Match]:
    """Return the best match of each pod's ranks, by pod."""
    best: dict[str, Match] = {}
    for source, match in found.items():
        if source.pod not in best or _tokens(match) > _tokens(best[source.pod]):
            best[source.pod] = match
    return best


def _tokens(match: Match) -> tuple[int, int]:
    return match.cached_tokens, match.blocks * match.block_size


def _names(prompt: Prompt) -> Iterator[tuple[str, Collection[str] | None]]:
    """Yield what engines may call the prompt's adapter, and at which pods."""
    yield prompt.lora, None
    for number in sorted(set(prompt.lora_ids.values())):
        yield f"#{number}", [pod for pod, its in prompt.lora_ids.items() if its == number]
