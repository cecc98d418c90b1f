"""Faults on the event channel: messages lost, doubled, out of order or late on their way to subscribers.

Only the live stream is disturbed. The publisher keeps every message for replay, as an engine does whose
network fails, so a subscriber can always find out and mend it. The offset of the engine's clock is switched
here too; it is in the time stamps of what is published from then on.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields

from kvsync.publisher import Frames

_LIMITS = {"delay_s": (0.0, 60.0), "clock_offset_s": (-86_400.0, 86_400.0)}
"""Bounds of the values that are not fractions: a minute, and a day either way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Which fractions of messages are disturbed, and how late every message is. All zero: a clear channel.

    A reordered message is sent right after its successor. A delay keeps the order. With an offset the
    engine's clock is ahead, with a negative one behind.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay_s: float = 0.0
    clock_offset_s: float = 0.0

    @classmethod
    def parse(cls, raw: object) -> "Faults":
        """Read the JSON form; a fault left out is off. Raises ValueError naming every problem."""
        names = [field.name for field in fields(cls)]
        if not isinstance(raw, dict):
            raise ValueError(f"faults are an object with {', '.join(names)}")
        problems = [f"unknown fault {name!r}; valid: {', '.join(names)}" for name in raw if name not in names]
        for name in names:
            value, (lowest, highest) = raw.get(name, 0.0), _LIMITS.get(name, (0.0, 1.0))
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not lowest <= value <= highest:
                problems.append(f"{name} must be a number from {lowest:g} to {highest:g}, not {value!r}")
        if problems:
            raise ValueError("; ".join(problems))
        return cls(**{name: float(raw.get(name, 0.0)) for name in names})


@dataclass(slots=True)
class Counts:
    """What the channel did since it was made: the proof that a fault had an effect."""

    carried: int = 0
    dropped: int = 0
    duplicated: int = 0
    reordered: int = 0
    delayed: int = 0


class FaultyChannel:
    """A channel whose faults are switched at run time; with the same seed it disturbs the same messages.

    `send` puts a message on the socket, `later(delay_s, call)` calls back after a delay, `clock` is in
    seconds.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        send: Callable[[Frames], None],
        later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
    ) -> None:
        self.faults = Faults()
        self.counts = Counts()
        self._rng, self._send, self._later, self._clock = rng, send, later, clock
        self._held: Frames | None = None
        self._late: deque[tuple[float, Frames]] = deque()

    def carry(self, message: Frames) -> Sequence[Frames]:
        """Return what goes out now in place of a message; what is delayed is sent later, through `send`."""
        self.counts.carried += 1
        return self._delay(self._disturb(message))

    def switch(self, faults: Faults) -> None:
        """Change the faults from the next message on; a message held back for its successor goes out."""
        self.faults = faults
        held, self._held = self._held, None
        for message in self._delay([held] if held else []):
            self._send(message)

    def lose(self) -> None:
        """Lose what is held back or late, as a connection does that breaks."""
        self._held = None
        self._late.clear()

    def status(self) -> dict[str, object]:
        """The faults now, and under `counts` what they did so far."""
        return {**asdict(self.faults), "counts": asdict(self.counts)}

    def _disturb(self, message: Frames) -> list[Frames]:
        # One draw per fault and message, even for faults that are off: none shifts the others' pattern.
        drop, duplicate, reorder = (self._rng.random() for _ in range(3))
        held, self._held = self._held, None
        if drop < self.faults.drop:
            self.counts.dropped += 1
            return [held] if held else []
        out = [message]
        if duplicate < self.faults.duplicate:
            self.counts.duplicated += 1
            out.append(message)
        if held:
            out.append(held)
        elif reorder < self.faults.reorder:
            self.counts.reordered += 1
            self._held = message
            out.remove(message)
        return out

    def _delay(self, messages: list[Frames]) -> list[Frames]:
        if not self.faults.delay_s and not self._late:
            return messages
        self.counts.delayed += len(messages)
        if messages and not self._late:
            self._later(self.faults.delay_s, self._send_due)
        # A queue, so that messages keep their order when the delay becomes smaller.
        due = self._clock() + self.faults.delay_s
        self._late.extend((due, message) for message in messages)
        return []

    def _send_due(self) -> None:
        now = self._clock()
        while self._late and self._late[0][0] <= now:
            self._send(self._late.popleft()[1])
        if self._late:
            self._later(self._late[0][0] - now, self._send_due)
