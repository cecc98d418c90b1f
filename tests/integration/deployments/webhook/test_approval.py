"""Forks' commits and the yes to them: deliveries in an inbox on disk, GitHub over HTTP."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from deployments.webhook.approval import Approvals
from deployments.webhook.decision import Ask, Ignore, Start, Work, decide
from deployments.webhook.heads import Heads
from deployments.webhook.inbox import Delivery, Inbox
from deployments.webhook.payload import parse
from deployments.webhook.refusal import NotNow, RunRefused
from kvsync.ci.notify.github_double import FakeGitHub
from kvsync.ci.settings import GitHubSettings, Settings, WebhookSettings
from tests.payloads.recorded import payload

NAME, FORK = "octo-org/octo-repo", "octo-guest/octo-repo"
TOKEN = "gh-token"  # noqa: S105 - of the double
FIRST, SECOND = "ec26c3e57ca3a959ca5aad62de7213c562f8c821", "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"
HELD, RUNS = "held: waiting for /ok-to-test", ""

STRANGER = {"login": "octo-guest", "type": "User"}
COMMITTER = {"login": "octo-committer", "type": "User"}
MAINTAINER = {"login": "octo-maintainer", "type": "User"}

Given = tuple[str, dict[str, object]]


class World:
    """A receiver without its server and Prefect; each delivery is judged when it arrives."""

    def __init__(self, path: Path, github: FakeGitHub, **webhook: object) -> None:
        chosen = {"repositories": (NAME,), "actors": ("octo-maintainer",), **webhook}
        self.settings = WebhookSettings.model_validate(chosen)
        self.github, self.path = github, path
        self.api = GitHubSettings(token=SecretStr(TOKEN), api_url=github.url, retries=0)
        self.arrived = 0

    def decide(self, given: Given) -> Work | Ignore:
        """What a payload is taken for."""
        name, changes = given
        body = json.dumps(payload(name, **changes)).encode()
        return decide(parse(name.removesuffix("_fork"), body), Settings(webhook=self.settings))

    def arrive(self, given: Given) -> None:
        """Write a delivery down."""
        work = self.decide(given)
        assert not isinstance(work, Ignore), work.reason
        self.arrived += 1
        with closing(Inbox(self.path, time.time)) as inbox:
            assert inbox.add(f"delivery-{self.arrived}", work)

    def judge(self, number: int) -> str:
        """Ask for the objection to a delivery, as a process does that just started."""
        with closing(Inbox(self.path, time.time)) as inbox:
            delivery: Delivery = inbox.waiting()[number - 1]
            heads = Heads(self.api)
            start = delivery.work
            assert isinstance(start, Start)
            source = heads.find(start.source) if isinstance(start.source, Ask) else start.source
            return Approvals(inbox, heads, self.api, self.settings.forks).objection(delivery, start, source)

    def take(self, given: Given) -> str:
        """Let a delivery arrive and be judged; returns the objection, "" if its commit runs."""
        if isinstance(work := self.decide(given), Ignore):
            return f"ignored at once: {work.reason}"
        self.arrive(given)
        return self.judge(self.arrived)


def push(commit: str, minute: int, action: str = "synchronize", **changes: object) -> Given:
    """A pull request's head is a commit from a minute on."""
    at = f"2026-11-20T10:{minute:02}:00Z"
    named = {"pull_request__head__sha": commit, "pull_request__updated_at": at, "action": action}
    return "pull_request_fork", named | changes


def comment(minute: int, body: str = "/ok-to-test", user: object = MAINTAINER, **changes: object) -> Given:
    """A comment of a minute."""
    at = f"2026-11-20T10:{minute:02}:00Z"
    named = {"comment__body": body, "comment__user": user, "sender": user, "comment__created_at": at}
    return "issue_comment", named | changes


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    """GitHub, with a pull request of a fork."""
    with FakeGitHub(NAME, token=TOKEN) as double:
        double.propose(NAME, 7, FIRST, fork=FORK)
        yield double


@pytest.fixture
def world(github: FakeGitHub, tmp_path: Path) -> Callable[..., World]:
    """Set up a world."""
    return lambda **webhook: World(tmp_path / "inbox.db", github, **webhook)


def test_a_commit_waits_and_github_is_told(world: Callable[..., World], github: FakeGitHub) -> None:
    """A status, and one comment with the words that approve this commit."""
    there = world()

    assert there.take(push(FIRST, 1, "opened")) == HELD
    assert there.judge(1) == HELD

    assert {(each.commit, each.context, each.state, each.description) for each in github.statuses} == {
        (FIRST, "kvsync-ci", "pending", "waiting for /ok-to-test")
    }
    (told,) = github.comments
    assert "### kvsync-ci: waiting for /ok-to-test" in told.body
    assert f"\n/ok-to-test {FIRST}\n" in told.body


@pytest.mark.parametrize("user", [MAINTAINER, COMMITTER], ids=["actor", "with write access"])
@pytest.mark.parametrize("body", ["/ok-to-test", f"Looks fine.\r\n/ok-to-test {FIRST}\r\n"])
def test_who_may_approves_one_commit(
    world: Callable[..., World], github: FakeGitHub, user: object, body: str
) -> None:
    """The next one waits again; the approved one does not when it is reopened or tested again."""
    github.permit(NAME, "octo-committer", "write")
    there = world()
    there.take(push(FIRST, 1, "opened"))

    assert there.take(comment(2, body, user)) == RUNS
    assert github.statuses[-1].description.startswith("approved by octo-")
    assert there.take(push(FIRST, 3, "reopened")) == RUNS
    assert there.take(comment(4, "/retest")) == RUNS
    assert there.take(comment(5)) == "ignored: it was approved before"
    github.propose(NAME, 7, SECOND, fork=FORK)
    assert there.take(comment(6, "/retest")) == HELD
    assert there.take(push(SECOND, 7)) == HELD
    assert there.take(comment(8, "/run unit")) == HELD


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (comment(2, user=STRANGER), "ignored: octo-guest may not approve"),
        (comment(2, user=COMMITTER), "ignored: octo-committer may not approve"),
        (comment(2, action="edited"), "ignored at once: the comment is not a new command"),
        (comment(2, "> /ok-to-test"), "ignored at once: the comment is not a new command"),
        (comment(2, "```\n/ok-to-test\n```"), "ignored at once: the comment is not a new command"),
        (comment(2, "<!--\n/ok-to-test\n-->"), "ignored at once: the comment is not a new command"),
        (comment(2, "/ok-to-test please"), "ignored at once: /ok-to-test stands alone"),
        (comment(2, f"/ok-to-test {FIRST[:12]}"), "ignored at once: /ok-to-test stands alone"),
        (comment(2, comment__created_at=None), "ignored at once: the delivery does not say when"),
        (comment(2, comment__user=STRANGER), "ignored at once: octo-maintainer is not in"),
        (comment(2, user={**MAINTAINER, "type": "Bot"}), "ignored at once: octo-maintainer is not in"),
        (comment(2, f"/ok-to-test {SECOND}"), f"held: the yes was to {SECOND}, and the head is {FIRST}"),
        (comment(1), "held: no commit was known"),
        (comment(2, "/retest"), HELD),
        (comment(2, "/run unit"), HELD),
    ],
)
def test_nothing_else_approves(
    world: Callable[..., World], github: FakeGitHub, given: Given, why: str
) -> None:
    """Whatever it looks like; and the commit still waits."""
    github.permit(NAME, "octo-committer", "read")
    there = world()
    there.take(push(FIRST, 1, "opened"))

    assert there.take(given).startswith(why)
    assert there.take(push(FIRST, 3, "reopened")) == HELD


def test_a_yes_to_an_older_commit_approves_no_newer_one(
    world: Callable[..., World], github: FakeGitHub
) -> None:
    """GitHub is asked for the head when the yes is judged."""
    there = world()
    there.take(push(FIRST, 1, "opened"))
    there.arrive(comment(2))
    there.arrive(push(SECOND, 3))
    github.propose(NAME, 7, SECOND, fork=FORK)

    assert there.judge(2) == f"held: the yes was to {FIRST}, and the head is {SECOND}"
    assert there.judge(3) == HELD
    assert github.states(SECOND) == {"kvsync-ci": "pending"}
    (told,) = github.comments
    assert SECOND in told.body


@pytest.mark.parametrize("minute", [1, 2, 3], ids=["before", "in the same second", "after"])
def test_a_yes_while_a_newer_push_is_on_its_way_approves_nothing(
    world: Callable[..., World], github: FakeGitHub, minute: int
) -> None:
    """Whether GitHub had it before or after the comment, and though it arrives before the yes is judged."""
    there = world()
    there.take(push(FIRST, 0, "opened"))
    github.propose(NAME, 7, SECOND, fork=FORK)
    there.arrive(comment(2))
    assert there.judge(2).startswith("held: the yes was to")
    there.arrive(push(SECOND, minute))

    assert there.judge(2) == f"held: the yes was to {FIRST}, and the head is {SECOND}"
    assert there.judge(3) == HELD


def test_a_yes_that_overtook_the_pull_request_has_to_name_the_commit(
    world: Callable[..., World], github: FakeGitHub
) -> None:
    """As for one that was opened before there was a receiver; GitHub is told which."""
    there = world()

    assert there.take(comment(2)).startswith("held: no commit was known when the comment was made")
    assert f"/ok-to-test {FIRST}" in github.comments[0].body
    assert there.take(comment(3, f"/ok-to-test {FIRST}")) == RUNS


def test_a_yes_is_kept_when_its_process_is_killed(world: Callable[..., World]) -> None:
    """The delivery is tried again, and is still the one that approves."""
    there = world()
    there.take(push(FIRST, 1, "opened"))

    assert there.take(comment(2)) == RUNS
    assert there.judge(2) == RUNS


AUTHOR = {"login": "octo-author", "type": "User"}


@pytest.mark.parametrize(
    ("webhook", "sender", "outcome"),
    [
        ({"trusted_authors": ("Octo-Author",)}, AUTHOR, RUNS),
        ({"trusted_authors": ("octo-author",)}, MAINTAINER, RUNS),
        ({"trusted_authors": ("octo-author",)}, STRANGER, HELD),
        ({"trusted_authors": ("octo-guest",)}, STRANGER, HELD),
        ({}, AUTHOR, HELD),
        ({"forks": "confined"}, STRANGER, RUNS),
        ({"forks": "never"}, AUTHOR, "ignored at once: it is a fork's, and webhook.forks = never"),
    ],
    ids=["trusted", "actor pushed", "stranger pushed", "of a stranger", "unknown", "confined", "never"],
)
def test_the_settings_say_whose_forks_wait(
    world: Callable[..., World], webhook: dict[str, object], sender: object, outcome: str
) -> None:
    """An author is trusted with what they push themselves, each time."""
    there = world(**webhook)

    assert there.take(push(FIRST, 1, "opened", sender=sender)) == outcome
    assert there.take(push(SECOND, 2, sender=sender)) == outcome


@pytest.mark.parametrize("forks", ["confined", "never"])
def test_where_nothing_waits_there_is_nothing_to_approve(world: Callable[..., World], forks: str) -> None:
    """And a fork that is never run is not run for a command either."""
    there = world(forks=forks)

    assert there.take(comment(2)) == f"ignored at once: webhook.forks = {forks}: there is nothing to approve"
    if forks == "confined":
        assert there.take(comment(3, "/retest")) == RUNS
    else:
        with pytest.raises(RunRefused, match=r"webhook\.forks = never"):
            there.take(comment(3, "/retest"))


def test_a_branch_of_the_repository_needs_no_yes(world: Callable[..., World], github: FakeGitHub) -> None:
    """Only who may write can make one."""
    github.propose(NAME, 7, FIRST, fork=NAME)

    assert world().take(comment(2)) == "ignored: it needs no yes"


def test_a_report_of_an_older_commit_gives_way_to_what_waits(
    world: Callable[..., World], github: FakeGitHub
) -> None:
    """There is one comment."""
    github.comment(NAME, 7, "<!-- kvsync-ci report run=20261120-030000-ab12 -->\n\nFAILED", author="ci")
    world().take(push(FIRST, 1, "opened"))

    (told,) = github.comments
    assert "waiting for /ok-to-test" in told.body


def test_without_the_right_to_ask_github_a_name_has_to_be_in_the_settings(
    world: Callable[..., World], github: FakeGitHub
) -> None:
    """It is refused, with the mend: one that waited for it would wait with those of every stranger."""
    there = world()
    there.take(push(FIRST, 1, "opened"))
    github.fail(403, on="/permission")

    with pytest.raises(RunRefused, match=r"403; put a token with write access .* or the name into"):
        there.take(comment(2, user=COMMITTER))
    assert there.take(comment(3)) == RUNS


def test_what_github_may_take_later_is_told_later(world: Callable[..., World], github: FakeGitHub) -> None:
    """The yes itself does not wait for GitHub to show it."""
    there = world()
    github.fail(502, on="POST")
    there.arrive(push(FIRST, 1, "opened"))
    with pytest.raises(NotNow, match="502"):
        there.judge(1)

    assert there.take(comment(2)) == RUNS
