"""What each pod announced, in order: the ground truth from which the cause of a wrong index follows.

An `epoch` is one incarnation of a pod's engine: its cache starts empty and its batches are numbered from 0.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kvsync.testing.results.history import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """One batch that a pod published, written down before it was sent."""

    pod: str
    model: str
    epoch: int
    seq: int
    t_mono: float
    stored: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    cleared: bool = False


def announcements(records: Iterable[Record]) -> list[Announcement]:
    """Pick the publish records out of a history."""
    return [_announcement(record) for record in records if record.get("f") == "publish"]


def _announcement(record: Record) -> Announcement:
    match record:
        case {
            "pod": str(pod),
            "model": str(model),
            "epoch": int(epoch),
            "seq": int(seq),
            "t_mono": float(t_mono),
            "stored": list(stored),
            "removed": list(removed),
            "cleared": bool(cleared),
        }:
            return Announcement(
                pod=pod,
                model=model,
                epoch=epoch,
                seq=seq,
                t_mono=t_mono,
                stored=tuple(int(each, 16) for each in stored),
                removed=tuple(int(each, 16) for each in removed),
                cleared=cleared,
            )
    raise ValueError(f"no publish record: {record}")


@dataclass(slots=True)
class BlockLife:
    """The batches of one epoch in which a block was stored, removed and cleared."""

    stored: list[int] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    cleared: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Story:
    """What one pod announced in its last epoch: the life of each block, and what each batch stored.

    Blocks that it had in earlier epochs only have an empty life.
    """

    epoch: int = 0
    lives: dict[int, BlockLife] = field(default_factory=dict)
    batches: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def reach(self, epoch: int) -> None:
        """Begin an epoch, unless the story is in it already."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.batches.clear()
            self.lives = {block: BlockLife() for block in self.lives}

    def add(self, batch: Announcement) -> None:
        """Take the pod's next batch."""
        self.reach(batch.epoch)
        self.batches[batch.seq] = batch.stored
        for each in batch.stored:
            self.lives.setdefault(each, BlockLife()).stored.append(batch.seq)
        for each in batch.removed:
            self.lives.setdefault(each, BlockLife()).removed.append(batch.seq)
        if batch.cleared:
            for life in self.lives.values():
                life.cleared.append(batch.seq)


def stories(batches: Iterable[Announcement]) -> Mapping[str, Story]:
    """Tell each pod's story from the batches of all, in the order in which each pod published them."""
    found: dict[str, Story] = {}
    for batch in batches:
        found.setdefault(batch.pod, Story()).add(batch)
    return found
