"""What was missed while the receiver was away: an inbox on disk, GitHub over HTTP."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from deployments.webhook.absence import Absence
from deployments.webhook.decision import Start, decide, place_of
from deployments.webhook.heads import Heads
from deployments.webhook.hooks import Hooks
from deployments.webhook.inbox import Inbox
from deployments.webhook.payload import parse
from kvsync.ci.notify.github import GitHub
from kvsync.ci.notify.github_double import FakeGitHub
from kvsync.ci.notify.messages import CommitStatus
from kvsync.ci.settings import GitHubSettings, Settings, WebhookSettings
from tests.payloads.recorded import payload

NAME = "octo-org/octo-repo"
TOKEN = "gh-token"  # noqa: S105 - of the double
HEAD = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
GONE_AT = datetime(2026, 11, 20, 9, tzinfo=UTC).timestamp()
BACK_AT = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def double() -> Iterator[FakeGitHub]:
    """GitHub, whose main branch has a commit."""
    with FakeGitHub(NAME, token=TOKEN) as github:
        github.push(NAME, "main", HEAD)
        yield github


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    """An inbox that is read three hours after the receiver went."""
    with closing(Inbox(tmp_path / "inbox.db", lambda: BACK_AT)) as inbox:
        yield inbox


@pytest.fixture
def settings(double: FakeGitHub) -> Settings:
    """Settings of a receiver for one repository."""
    return Settings(
        webhook=WebhookSettings(repositories=(NAME,)),
        github=GitHubSettings(token=SecretStr(TOKEN), api_url=double.url, retries=0),
    )


@pytest.fixture
def absence(inbox: Inbox, settings: Settings) -> Absence:
    """What is under test."""
    return Absence(inbox, Heads(settings.github), Hooks(settings.github), settings, clock=lambda: BACK_AT)


def commit(number: int) -> str:
    """A commit of its own for each pull request."""
    return f"{number:040x}"


def started(inbox: Inbox) -> list[str]:
    """The commits of what waits to be started."""
    works = [delivery.work for delivery in inbox.waiting()]
    return [
        work.source.commit for work in works if isinstance(work, Start) and hasattr(work.source, "commit")
    ]


def test_twenty_deliveries_that_never_came_are_started_once(
    double: FakeGitHub, inbox: Inbox, absence: Absence
) -> None:
    """Also the head of the branch, and what a merge queue waits for; closed and older ones are not."""
    inbox.be_present(GONE_AT)
    for number in range(1, 21):
        double.propose(NAME, number, commit(number), fork=None, at=f"2026-11-20T10:{number:02}:00Z")
    double.propose(NAME, 21, commit(21), fork=None, at="2026-11-20T08:00:00Z")
    double.propose(NAME, 22, commit(22), fork=None, at="2026-11-20T11:00:00Z", state="closed")
    double.push(NAME, "gh-readonly-queue/main/pr-7-abc", commit(99))

    assert [absence.catch_up(), absence.catch_up()] == [22, 0]
    assert sorted(started(inbox)) == sorted([HEAD, commit(99), *map(commit, range(1, 21))])


def test_what_was_delivered_or_has_a_status_is_not_missed(
    double: FakeGitHub, inbox: Inbox, absence: Absence, settings: Settings
) -> None:
    """A status is from a run that another receiver, or a person, started."""
    inbox.be_present(GONE_AT)
    for number in (1, 2, 3):
        double.propose(NAME, number, commit(number), fork=None)
    inbox.note(f"{NAME}#1", commit(1))
    with GitHub(settings.github, patience_s=1) as github:
        for sha, context in ((commit(2), "kvsync-ci/unit"), (HEAD, "kvsync-ci"), (commit(3), "other-ci")):
            github.set_status(NAME, sha, CommitStatus(context=context, state="success", description="x"))

    assert absence.catch_up() == 1
    assert started(inbox) == [commit(3)]


def test_a_delivery_that_comes_late_finds_it_done(double: FakeGitHub, inbox: Inbox, absence: Absence) -> None:
    """A newer event of the same commit, such as a reopening, is news."""
    inbox.be_present(GONE_AT)
    double.propose(NAME, 7, HEAD, fork=None, at="2026-11-20T10:00:00Z")
    absence.catch_up()
    event = parse("pull_request", json.dumps(payload("pull_request")).encode())
    settings = Settings(webhook=WebhookSettings(repositories=(NAME,)))
    place = place_of(event, settings)
    assert place is not None

    late, newer = (datetime(2026, 11, 20, hour, tzinfo=UTC).timestamp() for hour in (10, 11))
    assert [inbox.was_missed(*place, at) for at in (late, None, newer)] == [True, True, False]
    assert isinstance(decide(event, settings), Start)


def test_before_the_first_start_nothing_was_missed(
    double: FakeGitHub, inbox: Inbox, absence: Absence
) -> None:
    """A new receiver does not run every pull request there is, and asks nothing."""
    double.propose(NAME, 7, HEAD, fork=None)

    assert (absence.catch_up(), double.requests) == (0, [])
    assert inbox.present_until() == BACK_AT


def test_while_github_is_away_the_absence_goes_on(double: FakeGitHub, inbox: Inbox, absence: Absence) -> None:
    """The next time looks back as far."""
    inbox.be_present(GONE_AT)
    double.propose(NAME, 7, commit(7), fork=None)
    double.fail(502, on="/pulls")

    with pytest.raises(Exception, match="what was missed in octo-org/octo-repo: GitHub answered 502"):
        absence.catch_up()
    assert inbox.present_until() == GONE_AT
    double.recover()
    absence.catch_up()
    assert sorted(started(inbox)) == sorted([HEAD, commit(7)])


def test_a_forks_commit_that_was_missed_still_waits(
    double: FakeGitHub, inbox: Inbox, absence: Absence
) -> None:
    """Who pushed it is not known, so it is not vouched for."""
    inbox.be_present(GONE_AT)
    double.propose(NAME, 7, commit(7), fork="octo-guest/octo-repo")
    absence.catch_up()

    works = [each.work for each in inbox.waiting()]
    (fork,) = [work for work in works if isinstance(work, Start) and work.pull_request]
    assert (fork.vouched, getattr(fork.source, "trusted", None)) == (False, False)
