"""Prompts, and the event batches that an engine announces for them: made from a seed, to measure with.

What is measured depends on the input, so it resembles what vLLM 0.26 sends: only full blocks, engine hashes
that are not ours, the fields of a full-attention group, and the token ids of a large vocabulary, most of
which take five bytes on the wire.
"""

import random
from collections.abc import Sequence

from kvsync.codec import Encoding, encode
from kvsync.events import BlockRemoved, BlockStored, Event, EventBatch
from kvsync.hashing import block_hashes

BLOCK_SIZE = 16
VOCABULARY = range(151_936)
"""Token ids of the Qwen 2.5 and 3 models."""

ENGINE_SEED = 1
"""Root of the hashes in events: another one than the index's, as it is with engines."""

PromptTokens = tuple[int, ...]


def prompts(rng: random.Random, count: int, tokens: range) -> list[PromptTokens]:
    """Return prompts that share no block; `tokens` is the range of their lengths."""
    return [tuple(rng.choices(VOCABULARY, k=rng.choice(tokens))) for _ in range(count)]


def stored(prompt: PromptTokens) -> BlockStored:
    """Return what an engine announces after computing a prompt: its full blocks, from the root."""
    hashes = tuple(block_hashes(prompt, BLOCK_SIZE, seed=ENGINE_SEED))
    return BlockStored(
        block_hashes=hashes,
        parent_block_hash=None,
        token_ids=prompt[: len(hashes) * BLOCK_SIZE],
        block_size=BLOCK_SIZE,
        extra_keys=(None,) * len(hashes),
        group_idx=0,
        spec_kind="full_attention",
    )


def removed(event: BlockStored) -> BlockRemoved:
    """Return the eviction of what was stored, the last block first, as vLLM frees them."""
    return BlockRemoved(block_hashes=event.block_hashes[::-1], group_idx=event.group_idx)


def encoded(
    events: Sequence[Event], *, per_batch: int = 1, events_as: Encoding = Encoding.ARRAY
) -> list[bytes]:
    """Return the payloads of batches with `per_batch` events each, the last with what is left."""
    return [
        encode(
            EventBatch(ts=0.0, events=tuple(events[start : start + per_batch]), rank=0), events_as=events_as
        )
        for start in range(0, len(events), per_batch)
    ]
