"""How busy each pod is, as far as this gateway knows: its own requests that run there now."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class RunningRequests:
    """Counts running requests; the count is restored however a request ends."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()

    @contextmanager
    def running(self, pod: str) -> Iterator[None]:
        """Count one request on `pod` as running inside the block."""
        self._running[pod] += 1
        try:
            yield
        finally:
            self._running[pod] -= 1
            if not self._running[pod]:
                del self._running[pod]

    def of(self, pod: str) -> int:
        """Return how many requests run on `pod`."""
        return self._running[pod]
