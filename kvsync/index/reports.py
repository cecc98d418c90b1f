"""Hits that an engine announces again as if they were stored, which are no further copies.

vLLM (0.26 on) does so for requests that ask for `kv_cache_report_mode=full`: first the blocks that the
request found in the cache, from the root on, then those it adds, in one batch. A second copy from the root,
of a request that may not read the cache, looks alike, and another request of the same step may continue it.
But a copy takes room: once a cache is full, each block that is drawn evicts one, which is announced before,
but for those that ended requests left half full. Reports evict nothing.
"""

from collections.abc import Container, Iterator, Sequence
from itertools import pairwise

from kvsync.events import GPU, BlockRemoved, BlockStored, Event

Hashes = tuple[int, ...]

LIKELY, UNLIKELY, PROOF = 2, 16, 4
"""So many more blocks than were evicted for them are a report: LIKELY of what is continued in its batch, or
of an engine that has proved that it reports hits, UNLIKELY of all else. Blocks that ended requests left half
full are about as many as requests end in one step. PROOF is what a continued run has to have."""


_NONE: frozenset[Hashes] = frozenset()


def announced_again(
    events: Sequence[Event], held: Container[int], *, group: int, suspected: bool
) -> tuple[frozenset[Hashes], bool]:
    """Return which runs of blocks a batch reports again once the cache is full, and whether that proves that
    its engine does so, which makes it `suspected`.

    `held` are the source's blocks before the batch, `group` is its group of full attention.
    """
    since: set[int] = set()
    runs: set[Hashes] = set()
    if not any(map(_is_from_root, events)):
        return _NONE, suspected
    for (event, evicted), (following, _) in pairwise((*_stored(events, group), (None, 0))):
        hashes = event.block_hashes if event else ()
        if event and event.parent_block_hash is None and hashes:
            continued = following is not None and following.parent_block_hash == hashes[-1]
            free = len(hashes) - evicted
            is_report = free >= (LIKELY if continued or suspected else UNLIKELY)
            if is_report and all(one in held or one in since for one in hashes):
                runs.add(hashes)
                suspected |= continued and free >= PROOF
        since.update(hashes)
    return frozenset(runs), suspected


def _is_from_root(event: Event) -> bool:
    return isinstance(event, BlockStored) and event.parent_block_hash is None


def _stored(events: Sequence[Event], group: int) -> Iterator[tuple[BlockStored, int]]:
    """Yield what a group stored, and how many blocks were evicted between that and what it stored before."""
    evicted = 0
    for event in events:
        if isinstance(event, BlockRemoved) and event.medium == GPU:
            evicted += len(event.block_hashes)
        elif isinstance(event, BlockStored) and event.medium == GPU and (event.group_idx or 0) == group:
            yield event, evicted
            evicted = 0
