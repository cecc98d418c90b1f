"""What a source announced and the index does not hold, as reasons why the source is not EXACT.

Rules:

1. A reason stays as long as the engine holds a block that is left out: announcements are counted up, removals
   down, and what clears the cache or makes the source forgotten ends all of it.
2. Clearing empties GPU memory only; what an off-loading connector keeps elsewhere stays (vLLM resets that on
   its own).
3. Tokens and hashes that disagree leave doubt about blocks that are indexed. It ends when all are gone.

Reasons: without them a source whose every batch arrived is called EXACT with an index that is empty. Removals
name a block without saying why it was left out, so those of a medium are counted together: a removal of what
the index never held ends the oldest reason first.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kvsync.events import GPU, AllBlocksCleared, BlockRemoved, BlockStored, Event, Source

_HELD = frozenset(
    {
        *("stored", "removed", "orphaned", "reattached", "unknown_removed", "group_stored", "group_removed"),
        *("reannounced", "unkeyed", "lora_by_id"),
    }
)
"""Effects of events after which the index holds what the engine does."""

_MISMATCHED = "mismatched"

_MEDIA, _NAME_LENGTH, _OTHERS = 8, 32, "other media"
"""Media that are told apart (vLLM and SGLang name three), by so many characters."""

_TEXTS = {
    "skipped_block_size": "blocks of {size} tokens are left out: block_size, or the engine's other blocks,"
    " say otherwise, or eight other sizes are in use; without block_size each engine's own is used",
    _MISMATCHED: "tokens and hashes of an event disagree: `kvsync tail` shows what the engine sends;"
    " clearing its cache ends this",
    "dropped": "blocks beyond what the index keeps of one source are left out: the engine's cache is larger",
    "skipped_medium": "blocks in {medium} are left out: what the engine reads from there is not predicted",
    "skipped_group": "blocks of another group of the KV cache are left out: predictions may be too high",
    "skipped_hash_only": "blocks without tokens are left out: only their hashes are known",
}


class LeftOut(NamedTuple):
    """Blocks that the engine holds and the index does not, under a label of `Applied`, and what to do."""

    label: str
    medium: str
    blocks: int
    text: str


class Content:
    """What one source announced that the index does not hold. Does no input or output."""

    def __init__(self, left_out: Iterable[LeftOut] = ()) -> None:
        self._left_out: Counter[tuple[str, str]] = Counter()  # label and medium: blocks the engine holds
        self._texts: dict[tuple[str, str], str] = {}
        for each in left_out:
            self._left_out[each.label, each.medium] = each.blocks
            self._texts[each.label, each.medium] = each.text
        self._rank = ""

    @property
    def flaw(self) -> str:
        """Why the index does not hold what the engine does, and what to do; empty: it does."""
        return "; ".join([*([self._rank] if self._rank else []), *self._texts.values()])

    @property
    def left_out(self) -> dict[str, int]:
        """Blocks that the engine holds and the index does not, by reason."""
        counts: Counter[str] = Counter()
        for (label, _), count in self._left_out.items():
            counts[label] += count
        return dict(counts)

    @property
    def kept(self) -> tuple[LeftOut, ...]:
        """What a `Content` that goes on from here has to know."""
        return tuple(LeftOut(*key, self._left_out[key], text) for key, text in self._texts.items())

    @property
    def is_whole(self) -> bool:
        """Whether the index holds all blocks that were announced."""
        return not self._left_out

    def announced(self, source: Source, rank: int | None) -> None:
        """Compare the rank that a batch names with the one that was asked."""
        self._rank = ""
        if rank not in (None, source.rank):
            self._rank = (
                f"the publisher says that it is rank {rank}, not {source.rank}:"
                " event_port must be that of rank 0, dp_rank the pod's first rank and dp_size their number"
            )

    def applied(self, event: Event, effects: Mapping[str, int]) -> None:
        """Take note of what the index made of an event; `effects` are labels of `Applied`."""
        match event:
            case BlockStored() if not effects.keys() <= _HELD:
                for label in effects.keys() - _HELD:
                    blocks = effects[label] if label == "dropped" else len(event.block_hashes)
                    self._leave_out(label, event, max(1, blocks))
            case BlockRemoved() if self._left_out:
                skipped = len(event.block_hashes) if effects.keys() - _HELD else 0
                self._removed(self._known(event.medium), skipped or effects.get("unknown_removed", 0))
            case AllBlocksCleared() if self._left_out:
                for key in [key for key in self._left_out if key[1] == GPU]:
                    self._end(key)

    def _leave_out(self, label: str, event: BlockStored, blocks: int) -> None:
        key = label, self._known(event.medium)
        self._left_out[key] += blocks
        text = _TEXTS.get(label, f"blocks are left out: {label.removeprefix('skipped_').replace('_', ' ')}")
        self._texts[key] = text.format(size=event.block_size, medium=key[1])

    def _known(self, medium: str) -> str:
        """Return a name for a medium of which there are only so many, whatever a peer sends."""
        name = medium[:_NAME_LENGTH]
        media = {key[1] for key in self._left_out}
        return name if name in media or name == GPU or len(media) < _MEDIA else _OTHERS

    def _removed(self, medium: str, blocks: int) -> None:
        for key in [key for key in self._left_out if key[1] == medium and key[0] != _MISMATCHED]:
            gone = min(blocks, self._left_out[key])
            self._left_out[key] -= gone
            blocks -= gone
            if not self._left_out[key]:
                self._end(key)

    def _end(self, key: tuple[str, str]) -> None:
        del self._left_out[key], self._texts[key]
