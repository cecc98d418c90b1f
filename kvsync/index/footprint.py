"""How much memory the index takes, estimated from its tables without walking them."""

from collections.abc import Iterable, Mapping
from sys import getsizeof

from kvsync.index.holding import Holding

INT_BYTES = 36
"""Of a Python integer beyond 30 bits."""

ORPHAN_BYTES = 1000
"""Of a block of 16 tokens that waits for its parent."""


def estimated(contexts: Iterable[Mapping[int, int]], holdings: Iterable[Holding]) -> int:
    """Return bytes: tables as they are, and two numbers for each block of each source in a dict."""
    together = sum(map(getsizeof, contexts))
    for holding in holdings:
        tables = (holding.blocks, holding.loras, holding.copies, holding.sharers, holding.names)
        groups = [group.copies for group in holding.groups.values()]
        together += sum(map(getsizeof, (*tables, *groups)))
        blocks = len(holding.blocks) if isinstance(holding.blocks, dict) else 0
        together += 2 * INT_BYTES * (blocks + sum(map(len, groups)))
        together += ORPHAN_BYTES * len(holding.orphans)
    return together
