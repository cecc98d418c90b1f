"""Wait for something to become true, for a bounded time, without guessing how long it takes."""

import time
from collections.abc import Callable
from typing import TypeVar

from kvsync.testing.errors import WaitTimeout

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T | None],
    *,
    what: str,
    timeout_s: float,
    interval_s: float = 0.05,
    last_seen: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Ask `condition` until its answer is true in the sense of `bool`, and return that answer.

    It is asked at least once, and once more at the deadline. Raises WaitTimeout with `what` was awaited
    and what was last seen: the value of `last_seen`, else the condition's last answer.
    """
    deadline = clock() + timeout_s
    while True:
        late = clock() >= deadline
        answer = condition()
        if answer:
            return answer
        if late:
            raise WaitTimeout(what, timeout_s, last_seen() if last_seen else answer)
        sleep(max(0.0, min(interval_s, deadline - clock())))
