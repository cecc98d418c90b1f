"""The sliding-window layers of a hybrid model: a second group of KV cache blocks beside full attention.

Rules, in vLLM's words:
- A prefix can be reused up to a length before which the window's blocks are held, or all of the prompt's.
- A request gives back the blocks that its window has left when it computes further tokens. What they hold can
  still be found until they are drawn again, like everything that is free.
- Blocks are announced for this group, too, with its number, its kind and its window.

vLLM draws the blocks of all groups from one pool; here each group has its own, of the same capacity.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kvsync.events import BlockRemoved, BlockStored

GROUP = 0
"""Its number; the group of full attention comes after it, as in Gemma's models."""

SPEC_KIND = "sliding_window"


@dataclass(slots=True, eq=False)
class Slot:
    """A physical block; free when `users` is 0, and even then its content may still be found."""

    number: int
    users: int = 0
    digest: bytes | None = None
    hash: int = 0


Slots = list[Slot | None]
"""The blocks of a request by position; None where its window has moved on."""


class SlidingWindow:
    """Physical blocks of one group, which requests use them, and which content they hold. Does no I/O."""

    def __init__(self, capacity: int, block_size: int, tokens: int) -> None:
        self.tokens = tokens
        self._block_size = block_size
        self._free = OrderedDict((n, Slot(n)) for n in range(capacity))
        self._held: dict[bytes, dict[int, Slot]] = {}

    @property
    def free_blocks(self) -> int:
        """Blocks that no request uses."""
        return len(self._free)

    def longest(self, digests: Sequence[bytes]) -> int:
        """The longest reuse of at most these blocks, found by trying each length from the longest on."""
        run = max(1, -(-(self.tokens - 1) // self._block_size))
        lengths = range(len(digests), 0, -1)
        return next((n for n in lengths if all(d in self._held for d in digests[max(0, n - run) : n])), 0)

    def begin(self, digests: Sequence[bytes]) -> Slots:
        """Use what is held of a prefix that is reused."""
        skipped = self._skipped(len(digests) * self._block_size)
        used = [next(iter(self._held[digest].values())) for digest in digests[skipped:]]
        for slot in used:
            self._free.pop(slot.number, None)
            slot.users += 1
        return [*[None] * skipped, *used]

    def advance(self, slots: Slots, computed: int, blocks: int) -> list[BlockRemoved]:
        """Let a request that has computed some tokens have `blocks` blocks in all; return what it evicted."""
        skipped = range(min(self._skipped(computed), len(slots)))
        self._release([slots[position] for position in skipped])
        slots[: len(skipped)] = [None] * len(skipped)
        removed = []
        for _ in range(blocks - len(slots)):
            _, slot = self._free.popitem(last=False)
            if slot.digest is not None:
                removed.append(BlockRemoved(block_hashes=(slot.hash,), group_idx=GROUP))
                self._forget(slot)
            slot.users = 1
            slots.append(slot)
        return removed

    def store(self, slots: Slots, digests: Sequence[bytes], event: BlockStored) -> None:
        """Hold the last blocks of these digests, which `event` announces for full attention."""
        first = len(digests) - len(event.block_hashes)
        for position, engine_hash in enumerate(event.block_hashes, first):
            if slot := slots[position]:
                slot.digest, slot.hash = digests[position], engine_hash
                self._held.setdefault(slot.digest, {})[slot.number] = slot

    def announced(self, event: BlockStored) -> BlockStored:
        """What is announced for this group along with an event of full attention."""
        return replace(event, group_idx=GROUP, spec_kind=SPEC_KIND, sliding_window=self.tokens)

    def free(self, slots: Slots) -> None:
        """Give back the blocks of a request."""
        self._release(slots)

    def clear(self) -> None:
        """Forget all content; no request uses any."""
        for slot in self._free.values():
            slot.digest = None
        self._held.clear()

    def _skipped(self, computed: int) -> int:
        return max(0, computed - self.tokens + 1) // self._block_size

    def _release(self, slots: Sequence[Slot | None]) -> None:
        for slot in reversed(slots):
            if slot is None:
                continue
            slot.users -= 1
            if slot.users == 0:
                self._free[slot.number] = slot
                self._free.move_to_end(slot.number, last=slot.digest is not None)

    def _forget(self, slot: Slot) -> None:
        if slot.digest is not None:
            del self._held[slot.digest][slot.number]
            if not self._held[slot.digest]:
                del self._held[slot.digest]
            slot.digest = None
