"""What engines will hold soon: the prefixes of requests that were just sent to them.

Between a request and the events of its blocks pass its wait in the engine's queue and a step; requests with
the same new prefix in this time find nothing in the index. What is expected is not known: it expires by
itself, its number is bounded, and nothing is predicted from it.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence

from kvsync.events import Source
from kvsync.hashing import block_hashes
from kvsync.index.lookup import Prompt

BLOCK_SIZE = 16
"""Tokens; that of the engines does not matter, as prefixes are only compared with each other."""

LONGEST = 128 * BLOCK_SIZE
"""Tokens of a prompt that are looked at: enough to tell prompts apart, and soon hashed."""


class ExpectedPrefixes:
    """Prefixes of the last `for_s` seconds, `most` blocks at most, of which the oldest go first."""

    def __init__(self, *, for_s: float, most: int, clock: Callable[[], float]) -> None:
        self._for_s = for_s
        self._most = most
        self._clock = clock
        self._blocks: OrderedDict[int, dict[Source, float]] = OrderedDict()  # own hash -> until when

    def hashes(self, prompt: Prompt) -> list[int]:
        """Return the own hashes of a prompt; different for each model, adapter and salt."""
        if not self._for_s:
            return []
        context = (prompt.model, prompt.lora, prompt.salt or "")
        return block_hashes(prompt.tokens[:LONGEST], BLOCK_SIZE, extra=[context])

    def add(self, hashes: Sequence[int], source: Source) -> None:
        """Expect a source to hold a prefix."""
        until = self._clock() + self._for_s
        for own in hashes:
            self._blocks.setdefault(own, {})[source] = until
            self._blocks.move_to_end(own)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)

    def tokens(self, hashes: Sequence[int]) -> dict[Source, int]:
        """Return how many tokens of a prefix each source is expected to hold; those with none are absent."""
        now = self._clock()
        found: dict[Source, int] = {}
        alive: Collection[Source] = self._blocks.get(hashes[0], ()) if hashes else ()
        for blocks, own in enumerate(hashes, 1):
            holders = self._blocks.get(own, {})
            alive = [source for source in alive if holders.get(source, now) > now]
            if not alive:
                break
            found.update(dict.fromkeys(alive, blocks * BLOCK_SIZE))
        return found
