"""One log line for each change of a source's state, with the endpoint and the cause."""

import logging
from collections.abc import Callable

from kvsync.events import Source
from kvsync.ratelimit import RateLimit
from kvsync.sequence import State

log = logging.getLogger(__name__)

BURST, BURST_INTERVALS = 20, 6
"""Lines of one source in some log intervals: a peer that does its worst must not fill the log."""

NOT_CONNECTED_YET = "not connected yet"
"""Why a source that was just made is BLIND."""

_TROUBLED = (State.DEGRADED, State.BLIND)


class Journal:
    """What was said of one source last."""

    def __init__(self, source: Source, where: str, interval_s: float, clock: Callable[[], float]) -> None:
        self._source = source
        self._where = where
        self._limit = RateLimit(BURST_INTERVALS * interval_s, clock, BURST)
        self._state = State.BLIND
        self._cause = NOT_CONNECTED_YET

    def note(self, state: State, cause: str, *, is_trouble: bool = False) -> None:
        """Say that the state has changed or, where that is for people to mend, its cause."""
        is_trouble |= state in _TROUBLED
        if state is self._state and (cause == self._cause or not is_trouble):
            return
        if self._limit.admit() is None:
            return  # It is tried again with the next look at the state.
        before, self._state, self._cause = self._state, state, cause
        log.log(
            logging.WARNING if is_trouble else logging.INFO,
            "%s rank %d at %s: %s%s%s",
            self._source.pod,
            self._source.rank,
            self._where,
            state.value,
            f", was {before.value}" if before is not state else "",
            f": {cause}" if cause else "",
        )
