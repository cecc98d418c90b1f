"""Which pod is asked next, and how many requests are sent again."""

import pytest

from kvsync.config import RetriesConfig
from kvsync.gateway.failover.attempts import STALE_WITHIN_S, Attempts, is_stale
from kvsync.gateway.failover.budget import RetryBudget
from kvsync.routing import Choice, Selection
from kvsync.sequence import State

CHOICES = [
    Choice(pod=name, matched_blocks=0, selection=Selection.LEAST_REQUEST, state=State.EXACT)
    for name in "abcd"
]


def starting(budget: RetryBudget, **running: int) -> Attempts:
    """A request that may be seen by two engines; of pods that are not named none runs."""
    return Attempts(CHOICES, engines=2, budget=budget, running=lambda pod: running.get(pod, 0))


def asked(attempts: Attempts, *, is_seen: bool) -> str:
    """The pods that are asked when each fails."""
    pods = ""
    while choice := attempts.next():
        pods += choice.pod
        attempts.failed(choice.pod, is_seen=is_seen)
    return pods


def test_two_engines_see_a_request() -> None:
    """The third pod is not asked, and that is counted."""
    budget = RetryBudget(RetriesConfig(), lambda: 0.0)
    attempts = starting(budget)

    assert asked(attempts, is_seen=True) == "ab"
    assert attempts.withheld == "2 engines have seen the request (upstream.retries.engines)"
    assert budget.counts == {("next_pod", "made"): 1, ("next_pod", "enough_engines"): 1}


def test_pods_that_cannot_be_reached_do_not_count() -> None:
    """Where no connection was made another pod is asked, and that takes nothing of the budget."""
    budget = RetryBudget(RetriesConfig(), lambda: 0.0)
    attempts = starting(budget)

    assert asked(attempts, is_seen=False) == "abcd"
    assert (attempts.withheld, budget.counts) == ("", {})


def test_a_pod_with_too_much_to_do() -> None:
    """After a 429 only pods with fewer running requests are asked."""
    attempts = starting(RetryBudget(RetriesConfig(), lambda: 0.0), a=2, b=3, c=2, d=1)

    attempts.next()
    attempts.failed("a", is_seen=True, status=429)

    assert asked(attempts, is_seen=True) == "d"
    assert attempts.withheld == ""


def test_a_budget_that_is_used_up() -> None:
    """Without the budget's consent the second pod is not asked."""
    attempts = starting(RetryBudget(RetriesConfig(minimum=0), lambda: 0.0))

    assert asked(attempts, is_seen=True) == "a"
    assert attempts.withheld == "too many recent requests were sent again (upstream.retries.share)"


def test_the_budget_is_a_share_of_recent_requests() -> None:
    """20 % of the requests of the last ten seconds, or the minimum where that is more."""
    now = 0.0
    budget = RetryBudget(RetriesConfig(share=0.2, minimum=3, recent_s=10), lambda: now)

    assert [budget.admits("resent") for _ in range(4)] == [True, True, True, False]
    for _ in range(25):
        budget.request()
    assert [budget.admits("resent") for _ in range(3)] == [True, True, False]
    now = 10.0
    assert [budget.admits("resent") for _ in range(4)] == [True, True, True, False]
    assert budget.counts == {("resent", "made"): 8, ("resent", "over_budget"): 3}


@pytest.mark.parametrize(
    ("is_reused", "after_s", "stale"),
    [
        pytest.param(True, 0.0, True, id="idle-and-broken-at-once"),
        pytest.param(True, STALE_WITHIN_S, False, id="idle-but-it-had-worked"),
        pytest.param(False, 0.0, False, id="fresh"),
    ],
)
def test_stale(*, is_reused: bool, after_s: float, stale: bool) -> None:
    """Only a connection that had been idle and breaks at once is a stale one."""
    assert is_stale(is_reused=is_reused, after_s=after_s) is stale
