"""How busy each pod is: this gateway's own requests that run there, and those of others, as engines tell.

An engine says how many requests it has, not whose. What it has beyond this gateway's own at that moment are
others', of another gateway or of clients that ask it directly. That is believed for a short time only.
Workers of one gateway, and others that share its indexer, tell each other what they run.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Place = tuple[str, int | None]
"""A pod, or one of its ranks."""


class RunningRequests:
    """Counts running requests; the count is restored however a request ends.

    What an engine said counts for `fresh_s` seconds; with 0, never.
    """

    def __init__(self, fresh_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._fresh_s = fresh_s
        self._clock = clock
        self._running: Counter[Place] = Counter()
        self._siblings: Mapping[Place, int] = {}
        self._others: dict[Place, tuple[float, int]] = {}  # until when, and how many

    @contextmanager
    def running(self, pod: str, rank: int | None = None) -> Iterator[None]:
        """Count one request on `pod`, and on the rank that it asks for, as running inside the block."""
        places = {(pod, None), (pod, rank)}
        self._running.update(places)
        try:
            yield
        finally:
            self._running.subtract(places)
            for place in places:
                if not self._running[place]:
                    del self._running[place]

    def reported(self, pod: str, requests: Mapping[int, int]) -> None:
        """Take note of how many requests an engine says it has now, running and waiting, by rank."""
        until = self._clock() + self._fresh_s
        for rank, count in ((None, sum(requests.values())), *requests.items()):
            self._others[pod, rank] = until, max(0, count - self._running[pod, rank])

    def counts(self) -> dict[Place, int]:
        """Return how many of this gateway's requests run at each place; places without any are left out."""
        return dict(self._running)

    def note_siblings(self, running: Mapping[Place, int]) -> None:
        """Take note of how many requests others that share the indexer say they run, until they say more."""
        self._siblings = running

    def of(self, pod: str, rank: int | None = None) -> int:
        """Return how many of this gateway's requests run on `pod`, or on one of its ranks."""
        return self._running[pod, rank]

    def total(self, pod: str, rank: int | None = None) -> int:
        """Return how many requests run on `pod`, or on one of its ranks, those of others included."""
        until, others = self._others.get((pod, rank), (0.0, 0))
        told = others if self._clock() < until else 0  # by the engine: siblings' are among them
        return self._running[pod, rank] + max(told, self._siblings.get((pod, rank), 0))

    def keep(self, pods: set[str]) -> None:
        """Forget what other pods said."""
        for place in [place for place in self._others if place[0] not in pods]:
            del self._others[place]
