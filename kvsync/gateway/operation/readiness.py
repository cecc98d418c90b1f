"""Whether a new gateway still waits to know what its pods hold: a rolling update then keeps the hit rate."""

from collections.abc import Callable, Sequence

from kvsync.config import GatewayConfig
from kvsync.sequence import State

_KNOWN = (State.EXACT, State.DEGRADED)
"""States in which nothing more is on its way."""


class Readiness:
    """Waits once: what is lost later is no reason to send clients to a gateway that knows less.

    `states` gives that of every source.
    """

    def __init__(
        self, config: GatewayConfig, states: Callable[[], Sequence[State]], clock: Callable[[], float]
    ) -> None:
        self._share = config.readiness.known_share if config.sync_enabled else 0.0
        self._within_s = config.readiness.within_s
        self._states = states
        self._clock = clock
        self._until = clock() + self._within_s
        self._is_over = not self._share

    def waiting(self) -> str:
        """Return what is waited for, and until when at the latest; empty: nothing."""
        left_s = self._until - self._clock()
        if self._is_over or left_s <= 0:
            return ""
        states = self._states()
        known = sum(state in _KNOWN for state in states)
        if states and known >= self._share * len(states):
            self._is_over = True
            return ""
        return f"; waiting up to {left_s:.0f} s more: {known} of {len(states)} sources are known"
