"""What is known of a source, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass

from kvsync.events import Source
from kvsync.sequence import Counters, State


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """What is known of one publisher at one moment.

    `last` is the number of the last batch applied, `live` the newest one seen; `reason` says why the state
    is not EXACT; `behind_s` is for how long, in seconds, there has been more to read than was read; `errors`
    counts what could not be read, by reason.
    """

    source: Source
    endpoint: str = ""
    replay_endpoint: str | None = None
    state: State
    reason: str
    last: int | None
    live: int | None
    last_event_age_s: float | None
    connected: bool
    behind_s: float = 0.0
    counters: Counters
    errors: Mapping[str, int]
    batches: int
    events: int

    @property
    def lag_batches(self) -> int:
        """Batches that were seen but are not applied yet."""
        return 0 if self.live is None else max(0, self.live - (-1 if self.last is None else self.last))
