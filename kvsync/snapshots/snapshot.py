"""What is known of one publisher, as a value that outlives the process.

Rules:

1. A snapshot is of one moment: what the index holds, what it leaves out, and the last frames delivered belong
   together.
2. It says where the publisher was and how the gateway named blocks. Where either differs now, it is not used.
3. It proves nothing by itself. It counts once the publisher's ring repeats a frame that it remembers, with
   the same content, and is continued from there (see kvsync.sequence).
"""

from dataclasses import dataclass

from kvsync.events import Source
from kvsync.index import Held
from kvsync.sequence import Memory
from kvsync.sources.content import LeftOut


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSnapshot:
    """One source at `made_at` (seconds since the epoch)."""

    source: Source
    endpoint: str
    replay_endpoint: str | None
    made_at: float
    hash_seed: int
    memory: Memory
    left_out: tuple[LeftOut, ...]
    held: Held

    @property
    def blocks(self) -> int:
        """How many blocks it holds."""
        return sum(map(len, self.held.blocks.values()))


def unfit(
    snapshot: SourceSnapshot,
    *,
    endpoint: str,
    replay_endpoint: str | None,
    hash_seed: int,
    block_size: int | None,
) -> str:
    """Say why a snapshot cannot be used as the gateway is set now; empty: it can."""
    size = snapshot.held.block_size
    if replay_endpoint is None:
        return "the publisher has no replay endpoint, so nothing can prove it"
    if (snapshot.endpoint, snapshot.replay_endpoint) != (endpoint, replay_endpoint):
        return f"its publisher was at {snapshot.endpoint} and {snapshot.replay_endpoint}"
    if snapshot.hash_seed != hash_seed:
        return f"it was made with hash_seed {snapshot.hash_seed}, which is {hash_seed} now"
    if block_size is not None and size not in (0, block_size):
        return f"its blocks are of {size} tokens, and block_size is {block_size} now"
    return ""


def is_newer(one: SourceSnapshot, other: SourceSnapshot | None) -> bool:
    """Say which of two snapshots of one source to try: clocks of gateways differ less than snapshots age."""
    return other is None or one.made_at > other.made_at
