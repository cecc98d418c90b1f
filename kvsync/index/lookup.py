"""How much of a prompt each pod would take from its cache, whatever size, salt and names its engine uses."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kvsync.hashing import block_hashes
from kvsync.index.prefixes import PrefixIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What to look up. `lora_ids` are the numbers that pods may name the adapter by, by pod."""

    model: str
    lora: str = ""
    tokens: Sequence[int]
    salt: str | None = None
    lora_ids: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What a pod holds of a prompt, in full blocks of `block_size` tokens, and how many tokens it reuses."""

    blocks: int
    block_size: int
    cached_tokens: int


def lookup(index: PrefixIndex, prompt: Prompt) -> dict[str, Match]:
    """Return the match of each pod that holds some of the prompt, hashing it once for each block size.

    Like vLLM, a salt enters the first block. Engines that announce no such keys are matched by tokens alone:
    what they hold with a salt cannot be told from the rest. An engine computes the last token at least.
    """
    found: dict[str, Match] = {}
    for size in index.block_sizes(prompt.model):
        last = max(0, len(prompt.tokens) - 1) // size
        for salt, keyed in ((None, None),) if not prompt.salt else ((prompt.salt, True), (None, False)):
            extra = [(salt,)] if salt else None
            hashes = block_hashes(prompt.tokens, size, seed=index.seed, extra=extra)
            for lora, pods in _names(prompt):
                held = index.match(prompt.model, lora, hashes, pods, block_size=size, keyed=keyed)
                used = held
                if last < len(hashes) and held:
                    used = index.match(prompt.model, lora, hashes[:last], pods, block_size=size, keyed=keyed)
                for pod, blocks in held.items():
                    match = Match(blocks=blocks, block_size=size, cached_tokens=used.get(pod, 0) * size)
                    if pod not in found or _length(match) > _length(found[pod]):
                        found[pod] = match
    return found


def _length(match: Match) -> tuple[int, int]:
    return match.cached_tokens, match.blocks * match.block_size


def _names(prompt: Prompt) -> Iterator[tuple[str, Collection[str] | None]]:
    """Yield what engines may call the prompt's adapter, and at which pods."""
    yield prompt.lora, None
    for number in sorted(set(prompt.lora_ids.values())):
        yield f"#{number}", [pod for pod, its in prompt.lora_ids.items() if its == number]
