"""Keep a peer that sends garbage from filling our log."""

from collections.abc import Callable


class RateLimit:
    """Lets `burst` through per `interval_s` and counts those held back."""

    def __init__(self, interval_s: float, clock: Callable[[], float], burst: int = 1) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._burst = self._left = burst
        self._renewed_at = float("-inf")
        self._held_back = 0

    def admit(self) -> int | None:
        """How many were held back since the last one let through; None: hold this one back as well."""
        now = self._clock()
        if now >= self._renewed_at + self._interval_s:
            self._renewed_at, self._left = now, self._burst
        if not self._left:
            self._held_back += 1
            return None
        self._left -= 1
        held_back, self._held_back = self._held_back, 0
        return held_back
