"""Which source holds which block, so that a prompt finds the pods that hold its prefix."""

from kvsync.index.expected import ExpectedPrefixes
from kvsync.index.held import Digest, Held, HeldGroup
from kvsync.index.holding import MAX_BLOCKS_PER_SOURCE, MAX_ORPHANS_PER_SOURCE, Applied
from kvsync.index.lookup import Match, Prompt, best_ranks, lookup
from kvsync.index.prefixes import DEFAULT_BLOCK_SIZE, PrefixIndex
from kvsync.index.tables import TAKEN

__all__ = [
    "DEFAULT_BLOCK_SIZE",
    "MAX_BLOCKS_PER_SOURCE",
    "MAX_ORPHANS_PER_SOURCE",
    "TAKEN",
    "Applied",
    "Digest",
    "ExpectedPrefixes",
    "Held",
    "HeldGroup",
    "Match",
    "PrefixIndex",
    "Prompt",
    "best_ranks",
    "lookup",
]
