"""What is known of a numbered stream, and what to do about it, as values."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class State(Enum):
    """How far the index can be trusted to show what a source holds."""

    EXACT = "exact"
    CATCHING_UP = "catching_up"
    DEGRADED = "degraded"
    BLIND = "blind"


class Deliver(NamedTuple):
    """Apply this frame; it is the next in order."""

    sequence: int
    payload: bytes
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Replay:
    """Ask for all frames from `start` on, after `delay_s`; answers to earlier requests no longer count."""

    start: int
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop everything the source was said to hold."""

    reason: str


@dataclass(frozen=True, slots=True)
class Restore:
    """Take over what was remembered of the source: the publisher has proved that it is still the same."""


Step = Deliver | Replay | Forget | Restore


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What outlives a process: where a source was, and by what its publisher is known again.

    `digests` are those of the last delivered frames without a hole between them, `last` the newest one's
    number. `flaw` says why history before it is incomplete, and `healable` whether the ring may still help.
    """

    last: int
    digests: tuple[int, ...]
    flaw: str = ""
    healable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What happened to a source since we began watching it."""

    gaps: int = 0
    duplicates: int = 0
    restarts: int = 0
    replays: int = 0
    truncated: int = 0
    replay_failures: int = 0
    buffered_dropped: int = 0


@dataclass(slots=True, kw_only=True)
class RunningReplay:
    """A replay that was asked for. `heals`: it may replace everything delivered so far."""

    heals: bool
    reach: int | None  # last frame delivered when it was asked for: a ring without it is another one
    heard: int  # newest live frame at that time
    newest: int | None = None
    frames: int = 0
    torn: bool = False  # frames were lost between those that came
    progress: bool = False
