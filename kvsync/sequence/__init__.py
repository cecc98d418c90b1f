"""What the numbered frames of one publisher mean: deliver, ask for a replay, restore or forget."""

from kvsync.sequence.tracker import (
    FIRST_DELAY_S,
    FITS,
    MAX_CONFLICTS,
    MAX_HEALS,
    MAX_ROUNDS,
    MAX_WAITING,
    MAX_WAITING_BYTES,
    REMEMBERED,
    RETRIES,
    WINDOW,
    SequenceTracker,
)
from kvsync.sequence.values import Counters, Deliver, Forget, Memory, Replay, Restore, State, Step

__all__ = [
    "FIRST_DELAY_S",
    "FITS",
    "MAX_CONFLICTS",
    "MAX_HEALS",
    "MAX_ROUNDS",
    "MAX_WAITING",
    "MAX_WAITING_BYTES",
    "REMEMBERED",
    "RETRIES",
    "WINDOW",
    "Counters",
    "Deliver",
    "Forget",
    "Memory",
    "Replay",
    "Restore",
    "SequenceTracker",
    "State",
    "Step",
]
