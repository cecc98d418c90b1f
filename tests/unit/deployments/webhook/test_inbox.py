"""Deliveries on disk."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployments.webhook.decision import Cancel, Start
from deployments.webhook.inbox import Inbox
from kvsync.ci.run.parameters import CommitSource


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time of the inbox."""
    return Clock()


@pytest.fixture
def reopen(tmp_path: Path, clock: Clock) -> Iterator[Callable[[], Inbox]]:
    """Open the inbox once more, as a restarted process does."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Inbox(tmp_path / "folder" / "inbox.db", clock)))


@pytest.fixture
def inbox(reopen: Callable[[], Inbox]) -> Inbox:
    """An empty inbox."""
    return reopen()


def closed(at: float | None = None, number: int = 7) -> Cancel:
    """Something to do for a pull request."""
    moment = None if at is None else datetime.fromtimestamp(at, UTC)
    return Cancel(pull_request=f"octo-org/octo-repo#{number}", at=moment)


def pushed(before: str = "a" * 40, trigger: str = "push") -> Start:
    """A push of the same commit to the same branch."""
    source = CommitSource(url="https://github.com/octo-org/octo-repo.git", commit="c" * 40, ref="main")
    return Start(deployment="commit", asked={"trigger": trigger}, source=source, pushed_over=before)


def test_a_push_is_there_once(inbox: Inbox) -> None:
    """Whoever has two webhooks sends two deliveries of it; one back to the same commit is another push."""
    assert inbox.add("one", pushed())
    assert not inbox.add("two", pushed())
    assert inbox.add("three", pushed(before="b" * 40))

    assert [each.delivery for each in inbox.waiting()] == ["one", "three"]


def test_what_is_asked_for_again_is_there_again(inbox: Inbox) -> None:
    """Only pushes are known by what they say: whoever asks twice wants two runs."""
    assert inbox.add("one", pushed(before="", trigger="dispatch"))
    assert inbox.add("two", pushed(before="", trigger="dispatch"))


def test_a_delivery_is_there_once_and_outlives_the_process(inbox: Inbox, reopen: Callable[[], Inbox]) -> None:
    """GitHub may send it again at any time."""
    assert inbox.add("one", closed(at=5.0))
    assert not inbox.add("one", closed(at=5.0))

    (waiting,) = reopen().waiting()
    assert inbox.is_waiting(waiting)
    assert (waiting.delivery, waiting.key, waiting.at, waiting.work) == (
        "one",
        "github-one",
        5.0,
        closed(at=5.0),
    )
    assert not reopen().add("one", closed())


def test_the_same_delivery_at_the_same_time_is_new_for_one_sender_only(
    inbox: Inbox, reopen: Callable[[], Inbox]
) -> None:
    """Threads of one process and other processes alike."""
    other = reopen()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: (inbox, other)[n % 2].add("one", closed()), range(32)))

    assert sum(answers) == 1
    assert len(inbox.waiting()) == 1


def test_deliveries_wait_in_the_order_of_arrival_until_they_are_finished(inbox: Inbox, clock: Clock) -> None:
    """What is finished keeps its outcome and flow run."""
    for name in ("b", "a", "c"):
        inbox.add(name, closed())
    clock.now += 60
    first, *_ = inbox.waiting()
    inbox.finish(first, "started", "run-1")

    assert not inbox.is_waiting(first)
    assert [delivery.delivery for delivery in inbox.waiting()] == ["a", "c"]
    assert inbox.depth() == (2, 60.0)
    assert inbox.outcomes() == {"b": ("started", "run-1"), "a": (None, None), "c": (None, None)}


def test_an_empty_inbox_has_no_age(inbox: Inbox) -> None:
    """Nothing waits."""
    assert inbox.depth() == (0, 0.0)


def test_what_is_newer_is_decided_by_githubs_time_and_then_by_arrival(inbox: Inbox) -> None:
    """A delivery that was on its way for long supersedes nothing that happened after it."""
    for name, at, number in (("second", 20.0, 7), ("late", 10.0, 7), ("tie", 20.0, 7), ("other", 99.0, 8)):
        inbox.add(name, closed(at=at, number=number))
    second, late, tie, other = inbox.waiting()

    assert [inbox.is_superseded(each) for each in (second, late, tie, other)] == [True, True, False, False]
    assert inbox.is_older("github-late", than=second)
    assert inbox.is_older("github-second", than=tie)
    assert not inbox.is_older("github-tie", than=second)
    assert not inbox.is_older("github-second", than=late)
    assert not inbox.is_older(None, than=tie)
    assert not inbox.is_older("by-hand", than=tie)


def test_what_was_known_before_a_delivery_is_older_by_time_and_by_arrival(inbox: Inbox) -> None:
    """Neither clock alone is believed: a delivery may be late, and two things may happen in one second."""
    for name, at, number in (("early", 10.0, 7), ("other", 11.0, 8), ("same", 20.0, 7)):
        inbox.add(name, closed(at=at, number=number))
    inbox.add("asking", closed(at=20.0))
    inbox.add("late", closed(at=15.0))
    early, _, _, asking, _ = inbox.waiting()

    assert inbox.head_before(asking) == closed(at=10.0)
    assert inbox.head_before(early) is None


def test_a_commit_is_cleared_by_one_delivery_for_as_long_as_that_is_kept(
    inbox: Inbox, clock: Clock, reopen: Callable[[], Inbox]
) -> None:
    """For its pull request only."""
    for name, number in (("one", 7), ("two", 7), ("other", 8)):
        inbox.add(name, closed(number=number))
    one, two, other = inbox.waiting()
    inbox.clear(one, "abc")
    inbox.clear(two, "abc")

    assert [reopen().cleared_by(each, "abc") for each in (one, two, other)] == ["one", "one", None]
    assert inbox.cleared_by(one, "def") is None
    clock.now += 30 * 24 * 3600 + 1
    inbox.prune()
    assert inbox.cleared_by(one, "abc") is None


def test_old_deliveries_are_forgotten_and_the_waiting_ones_named(inbox: Inbox, clock: Clock) -> None:
    """After 30 days they are not sent again."""
    inbox.add("done", closed())
    inbox.finish(inbox.waiting()[0], "cancelled")
    inbox.add("stuck", closed())
    clock.now += 30 * 24 * 3600
    inbox.add("young", closed())
    assert inbox.prune() == []
    stuck, *_ = inbox.waiting()

    clock.now += 1
    assert inbox.prune() == ["stuck"]
    assert not inbox.is_waiting(stuck)
    assert list(inbox.outcomes()) == ["young"]
