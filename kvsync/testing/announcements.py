"""What each pod announced, in order: the ground truth from which the cause of a wrong index is told.

A publisher numbers its batches from 0, so a number that is not higher than the one before begins a new
incarnation of the pod, whose cache started empty.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kvsync.testing.history import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """One batch that a pod published, written down before it was sent."""

    pod: str
    model: str
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
            "seq": int(seq),
            "t_mono": float(t_mono),
            "stored": list(stored),
            "removed": list(removed),
            "cleared": bool(cleared),
        }:
            return Announcement(
                pod=pod,
                model=model,
                seq=seq,
                t_mono=t_mono,
                stored=tuple(int(each, 16) for each in stored),
                removed=tuple(int(each, 16) for each in removed),
                cleared=cleared,
            )
    raise ValueError(f"no publish record: {record}")


@dataclass(slots=True)
class Life:
    """What happened to one block on one pod. Batches are those of the pod's last incarnation."""

    stored: list[int] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    cleared: list[int] = field(default_factory=list)
    before_restart: bool = False


@dataclass(slots=True)
class Story:
    """What one pod announced: the life of each block, and the blocks of each batch."""

    lives: dict[int, Life] = field(default_factory=dict)
    batches: dict[int, tuple[int, ...]] = field(default_factory=dict)
    last: int = -1

    def add(self, batch: Announcement) -> None:
        """Take the pod's next batch."""
        if batch.seq <= self.last:
            self.batches.clear()
            for life in self.lives.values():
                life.stored, life.removed, life.cleared, life.before_restart = [], [], [], True
        self.last = batch.seq
        self.batches[batch.seq] = batch.stored
        for each in batch.stored:
            self.lives.setdefault(each, Life()).stored.append(batch.seq)
        for each in batch.removed:
            self.lives.setdefault(each, Life()).removed.append(batch.seq)
        if batch.cleared:
            for life in self.lives.values():
                life.cleared.append(batch.seq)


def stories(batches: Iterable[Announcement]) -> Mapping[str, Story]:
    """Tell each pod's story from the batches of all, in the order in which each pod published them."""
    told: dict[str, Story] = {}
    for batch in batches:
        told.setdefault(batch.pod, Story()).add(batch)
    return told
