"""Hits that an engine announces again as if they were stored, which are no further copies.

vLLM (0.26 on) does so for requests that ask for `kv_cache_report_mode=full`: first the blocks that the
request found in the cache, from the root on, then those it adds, in one batch. A second copy from the root
looks alike, but nothing continues it in its own batch: an engine announces a step's full blocks at once.
Unless another request of the same step does; but then a full cache had to evict blocks for the copy before.
"""

from collections.abc import Container, Iterator, Sequence
from itertools import pairwise

from kvsync.events import GPU, BlockRemoved, BlockStored, Event

Hashes = tuple[int, ...]


def announced_again(
    events: Sequence[Event], held: Container[int], *, group: int, suspected: bool
) -> tuple[frozenset[Hashes], bool]:
    """Return which runs of blocks a batch reports again, and whether it proves that its engine does that.

    `held` are the source's blocks before the batch, `group` is its group of full attention. What is not
    continued in the batch counts as a report only of an engine that is `suspected`, since it did so before,
    and not if it is one block: a prompt as long as that is computed again each time. Engines of hybrid models
    are not suspected: where a window is lacking, they compute again what full attention holds.
    """
    stored = list(_stored(events, group))
    if not (suspected or len(stored) > 1) or all(event.parent_block_hash is not None for event, _ in stored):
        return frozenset(), False
    since: set[int] = set()
    runs: set[Hashes] = set()
    proven = False
    for (event, evicted), (following, _) in pairwise((*stored, (None, False))):
        hashes = event.block_hashes if event else ()
        if event and event.parent_block_hash is None and hashes:
            continued = following is not None and following.parent_block_hash == hashes[-1]
            proof = continued and not evicted
            is_report = proof or (suspected and (continued or len(hashes) > 1))
            if is_report and all(one in held or one in since for one in hashes):
                runs.add(hashes)
                proven |= proof
        since.update(hashes)
    return frozenset(runs), proven


def _stored(events: Sequence[Event], group: int) -> Iterator[tuple[BlockStored, bool]]:
    """Yield what a group stored, and whether blocks were evicted between that and what it stored before."""
    evicted = False
    for event in events:
        if isinstance(event, BlockRemoved):
            evicted = True
        elif isinstance(event, BlockStored) and event.medium == GPU and (event.group_idx or 0) == group:
            yield event, evicted
            evicted = False
