"""How busy each pod is, as far as this gateway knows: its own requests that run there now."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class RunningRequests:
    """Counts running requests; the count is restored however a request ends."""

    def __init__(self) -> None:
        self._running: Counter[tuple[str, int | None]] = Counter()

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

    def of(self, pod: str, rank: int | None = None) -> int:
        """Return how many requests run on `pod`, or on one of its ranks."""
        return self._running[pod, rank]
