"""How many requests may be sent again, of all that came lately.

A pod that fails now and then costs few retries. When all fail, retries would multiply the load that made them
fail; a share of the recent requests bounds that, with a minimum for gateways with little to do.
"""

from collections import Counter, deque
from collections.abc import Callable

from kvsync.config import RetriesConfig


class RetryBudget:
    """Counts requests, and retries by their kind and whether they were `made` or why not."""

    def __init__(self, limits: RetriesConfig, clock: Callable[[], float]) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._limits = limits
        self._clock = clock
        self._requests: deque[float] = deque()
        self._retries: deque[float] = deque()

    def request(self) -> None:
        """Count a request that came."""
        self._requests.append(self._clock())
        self._forget()

    def admits(self, kind: str) -> bool:
        """Say whether a request may be sent once more; if so, that counts."""
        self._forget()
        allowed = max(self._limits.minimum, self._limits.share * len(self._requests))
        is_allowed = len(self._retries) + 1 <= allowed
        if is_allowed:
            self._retries.append(self._clock())
        self.counts[kind, "made" if is_allowed else "over_budget"] += 1
        return is_allowed

    def _forget(self) -> None:
        before = self._clock() - self._limits.recent_s
        for times in (self._requests, self._retries):
            while times and times[0] <= before:
                times.popleft()
