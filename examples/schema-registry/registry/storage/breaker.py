"""A circuit breaker: what failed several times in a row is left alone for a while, then tried once."""

import time
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from registry.errors import CircuitOpen, LevelFailed

State = Literal["closed", "open", "half-open"]

_Answer = TypeVar("_Answer")


class Breaker:
    """Opens after `failures` in a row; after `pause_s` one call tries whether it may close."""

    def __init__(
        self,
        name: str,
        *,
        failures: int = 5,
        pause_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._failures = failures
        self._pause_s = pause_s
        self._clock = clock
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._is_trying = False

    @property
    def state(self) -> State:
        """Return whether calls pass (closed), fail at once (open) or one of them passes (half-open)."""
        if self._opened_at is None:
            return "closed"
        return "half-open" if self._clock() - self._opened_at >= self._pause_s else "open"

    async def call(self, action: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Do it, and count what LevelFailed it raises. Raises CircuitOpen where it is not tried."""
        state = self.state
        if state == "open" or (state == "half-open" and self._is_trying):
            raise CircuitOpen(f"{self.name} failed {self._failures} times in a row and is left alone for now")
        is_trial = state == "half-open"
        self._is_trying |= is_trial
        try:
            answer = await action()
        except LevelFailed:
            self._failed()
            raise
        except Exception:
            self._answered()  # with a refusal
            raise
        else:
            self._answered()
            return answer
        finally:
            if is_trial:
                self._is_trying = False

    def _answered(self) -> None:
        self._in_a_row, self._opened_at = 0, None

    def _failed(self) -> None:
        self._in_a_row += 1
        if self._in_a_row >= self._failures or self._opened_at is not None:
            self._opened_at = self._clock()
