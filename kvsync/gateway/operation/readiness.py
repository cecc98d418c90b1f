"""Whether a new gateway still waits to know what its pods hold: a rolling update then keeps the hit rate."""

from collections.abc import Callable, Sequence
from typing import Protocol

from kvsync.config import GatewayConfig
from kvsync.sequence import State
from kvsync.sources.status import SourceStatus

_KNOWN = (State.EXACT, State.DEGRADED)
"""States in which nothing more is on its way."""


class _Sources(Protocol):
    def statuses(self) -> Sequence[SourceStatus]:
        """Return what is known of every source."""


class Readiness:
    """Waits once: what is lost later is no reason to send clients to a gateway that knows less."""

    def __init__(self, config: GatewayConfig, sources: _Sources, clock: Callable[[], float]) -> None:
        self._share = config.readiness.known_share if config.sync_enabled else 0.0
        self._within_s = config.readiness.within_s
        self._sources = sources
        self._clock = clock
        self._until = clock() + self._within_s
        self._is_over = not self._share

    def waiting(self) -> str:
        """Return what is waited for, and until when at the latest; empty: nothing."""
        left_s = self._until - self._clock()
        if self._is_over or left_s <= 0:
            return ""
        states = [status.state for status in self._sources.statuses()]
        known = sum(state in _KNOWN for state in states)
        if states and known >= self._share * len(states):
            self._is_over = True
            return ""
        return f"; waiting up to {left_s:.0f} s more: {known} of {len(states)} sources are known"
