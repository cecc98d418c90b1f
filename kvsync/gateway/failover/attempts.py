"""Which pod to ask next for one request, and when to stop.

Rules, in order:

1. A pod that no connection could be made to has seen nothing: the next one is asked, however many there are.
2. A pod that answers 429 has too much to do: only pods with fewer running requests are asked after it.
3. At most `engines` engines see one request, because it may be the request that kills them.
4. Every engine after the first is a retry, and needs the budget's consent.
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus

from kvsync.gateway.failover.budget import RetryBudget
from kvsync.routing import Choice

REFUSALS = frozenset((HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE))
"""Statuses by which a pod says that it, not the request, is the problem. A 500 is as likely the request's: it
would only fail again."""

STALE_WITHIN_S = 1.0
"""A peer that has closed an idle connection says so within a round trip. One that breaks later has worked."""


class Attempts:
    """The way of one request from pod to pod; `withheld` says why it ended before the last one.

    `running` tells how many requests run on a pod, this one not counted.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        *,
        engines: int,
        budget: RetryBudget,
        running: Callable[[str], int],
    ) -> None:
        self.withheld = ""
        self._left = list(choices)
        self._engines = engines
        self._budget = budget
        self._running = running
        self._seen = 0

    def next(self) -> Choice | None:
        """Return the pod to ask now, or None."""
        if not self._left:
            return None
        if self._seen >= self._engines:
            self._budget.counts["next_pod", "enough_engines"] += 1
            self.withheld = f"{self._seen} engines have seen the request (upstream.retries.engines)"
            return None
        if self._seen and not self._budget.admits("next_pod"):
            self.withheld = "too many recent requests were sent again (upstream.retries.share)"
            return None
        return self._left.pop(0)

    def failed(self, pod: str, *, is_seen: bool, status: int | None = None) -> None:
        """Note that `pod` gave no answer, or refused with `status`; the request may have reached it."""
        self._seen += is_seen
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            self._left = [other for other in self._left if self._running(other.pod) < self._running(pod)]


def is_stale(*, is_reused: bool, after_s: float) -> bool:
    """Say whether a connection broke because the peer had closed it while idle, and so saw no request."""
    return is_reused and after_s < STALE_WITHIN_S
