"""When a pod is left alone after failures, and when it is tried again."""

from kvsync.config import BreakerConfig
from kvsync.gateway.failover.breaker import Breakers, BreakerState
from kvsync.routing import Choice, Selection
from kvsync.sequence import State

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN

LIMITS = BreakerConfig(failures=2, open_s=1, open_max_s=3)


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def opened(clock: Clock) -> Breakers:
    """Breakers of which that of pod a has just opened."""
    breakers = Breakers(LIMITS, clock)
    for _ in range(2):
        breakers.failed("a")
    return breakers


def test_it_opens_after_failures_in_a_row() -> None:
    """An answer to the end between two failures keeps it closed; one that only began does not."""
    breakers = Breakers(LIMITS, Clock())
    seen = []
    for note in (breakers.failed, breakers.answered, breakers.failed, breakers.began, breakers.failed):
        note("a")
        seen.append(breakers.state("a"))

    assert seen == [CLOSED, CLOSED, CLOSED, CLOSED, OPEN]
    assert breakers.state("b") is CLOSED


def test_one_request_tries_and_its_answer_closes() -> None:
    """While the trial runs other requests see an open breaker."""
    clock = Clock()
    breakers = opened(clock)
    clock.now = 1.0
    seen = [breakers.state("a")]
    with breakers.trying("a"):
        seen.append(breakers.state("a"))
        breakers.began("a")
        seen.append(breakers.state("a"))

    assert [*seen, breakers.state("a")] == [HALF_OPEN, OPEN, CLOSED, CLOSED]


def test_each_trial_that_fails_doubles_the_time() -> None:
    """After 1 s come 2 s, then the limit of 3 s."""
    clock = Clock()
    breakers = opened(clock)
    for open_s in (1.0, 2.0, 3.0, 3.0):
        clock.now += open_s - 0.1
        assert breakers.state("a") is OPEN
        clock.now += 0.1
        with breakers.trying("a"):
            breakers.failed("a")


def test_late_failures_and_clients_that_leave_decide_nothing() -> None:
    """A request from before it opened does not prolong it; a trial whose client left can be made again."""
    clock = Clock()
    breakers = opened(clock)
    clock.now = 0.9
    breakers.failed("a")
    clock.now = 1.0
    with breakers.trying("a"):
        pass

    assert breakers.state("a") is HALF_OPEN


def test_open_ones_are_asked_last() -> None:
    """The order of the others stays; pods that left are forgotten."""
    choices = [
        Choice(pod=pod, matched_blocks=0, selection=Selection.LEAST_REQUEST, state=State.EXACT)
        for pod in "abc"
    ]
    breakers = opened(Clock())
    open_last = breakers.order(choices)
    breakers.keep(["b", "c"])

    assert [choice.pod for choice in open_last] == ["b", "c", "a"]
    assert breakers.order(choices) == choices
