"""Keep a peer that sends garbage from filling our log."""

from collections.abc import Callable


class RateLimit:
    """Lets one through per `interval_s` and counts those held back."""

    def __init__(self, interval_s: float, clock: Callable[[], float]) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._closed_until = float("-inf")
        self._held_back = 0

    def admit(self) -> int | None:
        """How many were held back since the last one let through; None: hold this one back as well."""
        now = self._clock()
        if now < self._closed_until:
            self._held_back += 1
            return None
        held_back, self._held_back = self._held_back, 0
        self._closed_until = now + self._interval_s
        return held_back
