"""Hits that an engine announces again as if they were stored, which are no further copies.

vLLM (0.26 on) does so for requests that ask for `kv_cache_report_mode=full`: first the blocks that the
request found in the cache, from the root on, then those it adds, in one batch. A second copy from the root
looks alike, but nothing continues it in its own batch: an engine announces a step's full blocks at once.
"""

from collections.abc import Container, Sequence
from itertools import pairwise

from kvsync.events import GPU, BlockStored, Event

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
    stored = [
        event
        for event in events
        if isinstance(event, BlockStored) and event.medium == GPU and (event.group_idx or 0) == group
    ]
    if not (suspected or len(stored) > 1) or all(event.parent_block_hash is not None for event in stored):
        return frozenset(), False
    since: set[int] = set()
    runs: set[Hashes] = set()
    proven = False
    for event, following in pairwise((*stored, None)):
        hashes = event.block_hashes if event else ()
        if event and event.parent_block_hash is None and hashes:
            continued = following is not None and following.parent_block_hash == hashes[-1]
            if (continued or (suspected and len(hashes) > 1)) and all(
                one in held or one in since for one in hashes
            ):
                runs.add(hashes)
                proven |= continued
        since.update(hashes)
    return frozenset(runs), proven
