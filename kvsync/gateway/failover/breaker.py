"""A circuit breaker for each pod: after some failed requests in a row it is left alone for a while.

    closed --failures in a row--> open --time is over--> half open --one trial answers--> closed
                                   ^                        |
                                   +--the trial fails; twice as long, up to a limit

A breaker never refuses: pods whose breaker is open are asked last, when all others failed.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum

from kvsync.config import BreakerConfig
from kvsync.routing import Choice


class BreakerState(Enum):
    """Whether requests go to a pod, do not, or one may try."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """What a pod's last requests came to: `failures` in a row; when and for how long it was opened."""

    failures: int = 0
    opened_at: float | None = None
    open_s: float = 0.0
    is_tried: bool = False

    def state(self, now: float) -> BreakerState:
        """Return the state; a breaker whose trial runs lets nothing else through."""
        if self.opened_at is None:
            return BreakerState.CLOSED
        is_over = now >= self.opened_at + self.open_s and not self.is_tried
        return BreakerState.HALF_OPEN if is_over else BreakerState.OPEN


def failed(before: Breaker, now: float, limits: BreakerConfig) -> Breaker:
    """Return a breaker after one more failure."""
    failures = before.failures + 1
    if before.opened_at is None:
        is_open = failures >= limits.failures
        return Breaker(failures=failures, opened_at=now if is_open else None, open_s=limits.open_s)
    if not before.is_tried:  # a request from before it opened, or one that had no other pod left
        return replace(before, failures=failures)
    return Breaker(failures=failures, opened_at=now, open_s=min(2 * before.open_s, limits.open_max_s))


class Breakers:
    """The breakers of all pods; those without a recent failure take no memory."""

    def __init__(self, limits: BreakerConfig, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._known: dict[str, Breaker] = {}

    def state(self, pod: str) -> BreakerState:
        """Return the state of a pod's breaker."""
        breaker = self._known.get(pod)
        return breaker.state(self._clock()) if breaker else BreakerState.CLOSED

    def order(self, choices: Sequence[Choice]) -> list[Choice]:
        """Return the choices in their order, but those whose breaker is open last."""
        return sorted(choices, key=lambda choice: self.state(choice.pod) is BreakerState.OPEN)

    @contextmanager
    def trying(self, pod: str) -> Iterator[None]:
        """Count a request to a half-open pod as its trial, which a client that leaves does not decide."""
        is_trial = self.state(pod) is BreakerState.HALF_OPEN
        trial = replace(self._known[pod], is_tried=True) if is_trial else None
        if trial:
            self._known[pod] = trial
        try:
            yield
        finally:
            if trial and self._known.get(pod) is trial:
                self._known[pod] = replace(trial, is_tried=False)

    def began(self, pod: str) -> None:
        """Note that a pod began to answer: that is enough for a breaker that is not closed."""
        if self.state(pod) is not BreakerState.CLOSED:
            self.answered(pod)

    def answered(self, pod: str) -> None:
        """Note that a pod answered to the end."""
        self._known.pop(pod, None)

    def failed(self, pod: str) -> None:
        """Note that a pod failed a request."""
        self._known[pod] = failed(self._known.get(pod, Breaker()), self._clock(), self._limits)

    def keep(self, pods: Collection[str]) -> None:
        """Forget all other pods."""
        self._known = {pod: breaker for pod, breaker in self._known.items() if pod in pods}
