"""The client of GitHub against a double: what is there once stays one, and every failure ends in time."""

import logging
import socket
import traceback
from collections.abc import Callable

import pytest
import requests

from kvsync.ci.notify.github import GitHub, pause_s
from kvsync.ci.notify.github_double import FakeGitHub
from kvsync.ci.notify.messages import CommitStatus, IssueChange, NotSent, StickyComment

REPOSITORY = "octo/engine"
TOKEN = "ghp_veryPrivate123"  # noqa: S105 - of the double
COMMIT = "c" * 40
MARK = "<!-- ci report "

PASSED = CommitStatus(context="ci/unit", state="success", description="3 passed")


def comment(text: str, run: int = 1) -> StickyComment:
    """Return a comment that replaces those of earlier runs."""
    return StickyComment(
        mark=MARK, body=f"{MARK}run={run} -->\n{text}", replaces=lambda old: old < f"{MARK}run={run} -->"
    )


def opened(
    body: str, *, is_open: bool = True, news: StickyComment | None = None
) -> Callable[[str], IssueChange]:
    """Decide so, whatever the issue says."""
    return lambda _: IssueChange(title="It fails", body=MARK + body, is_open=is_open, news=news)


def test_a_status_is_set(double: FakeGitHub, github: GitHub) -> None:
    """It arrives as it is, with one request, and without a link where there is none."""
    github.set_status(REPOSITORY, COMMIT, PASSED)

    (posted,) = double.statuses
    assert (posted.context, posted.state, posted.description) == ("ci/unit", "success", "3 passed")
    assert posted.target_url is None
    assert double.requests == [f"POST /repos/{REPOSITORY}/statuses/{COMMIT}"]


def test_the_limit_of_statuses_is_said_in_githubs_words(connect: Callable[..., GitHub]) -> None:
    """Its "Validation Failed" alone does not help, nor would trying again."""
    with FakeGitHub(REPOSITORY, token=TOKEN, max_statuses=2) as double:
        github = connect(double.url)
        for _ in range(2):
            github.set_status(REPOSITORY, COMMIT, PASSED)
        with pytest.raises(NotSent, match="This SHA and context has reached the maximum number") as caught:
            github.set_status(REPOSITORY, COMMIT, PASSED)

    assert (caught.value.passing, len(double.requests)) == (False, 3)
    assert "push another commit" in str(caught.value)


def test_a_reaction_is_there_once(double: FakeGitHub, github: GitHub) -> None:
    """Also if the step is repeated."""
    number = double.comment(REPOSITORY, 7, "/run moon")
    for _ in range(2):
        github.react(REPOSITORY, number, "confused")

    assert [each.reactions for each in double.comments] == [("confused",)]


def test_a_comment_is_edited_in_place(double: FakeGitHub, github: GitHub) -> None:
    """A later run writes over our earlier comment; the same text again changes nothing."""
    github.keep_comment(REPOSITORY, 7, comment("first"))
    github.keep_comment(REPOSITORY, 7, comment("second", run=2))
    github.keep_comment(REPOSITORY, 7, comment("second", run=2))

    assert [(each.body, each.edits) for each in double.comments] == [(comment("second", run=2).body, 1)]


def test_an_earlier_run_leaves_the_comment_of_a_later_one(double: FakeGitHub, github: GitHub) -> None:
    """A run that ends late has nothing to say any more."""
    github.keep_comment(REPOSITORY, 7, comment("newer", run=2))
    github.keep_comment(REPOSITORY, 7, comment("older", run=1))

    assert [each.body for each in double.comments] == [comment("newer", run=2).body]


def test_a_comment_is_found_behind_many_others(connect: Callable[..., GitHub]) -> None:
    """All pages are looked through."""
    with FakeGitHub(REPOSITORY, token=TOKEN, page=2) as double:
        for number in range(5):
            double.comment(REPOSITORY, 7, f"talk {number}")
        connect(double.url).keep_comment(REPOSITORY, 7, comment("first"))
        connect(double.url).keep_comment(REPOSITORY, 7, comment("second", run=2))

        assert [each.body for each in double.comments[5:]] == [comment("second", run=2).body]


@pytest.mark.parametrize("login", ["ci", None], ids=["a user's token", "an app's token"])
def test_a_comment_of_somebody_else_is_never_ours(connect: Callable[..., GitHub], login: str | None) -> None:
    """The mark can be copied; the author cannot."""
    with FakeGitHub(REPOSITORY, token=TOKEN, login=login) as double:
        double.comment(REPOSITORY, 7, comment("forged").body, author="mallory")
        connect(double.url).keep_comment(REPOSITORY, 7, comment("first"))
        connect(double.url).keep_comment(REPOSITORY, 7, comment("second", run=2))

        assert [each.body for each in double.comments] == [
            comment("forged").body,
            comment("second", run=2).body,
        ]


def test_comments_of_other_pull_requests_stay(double: FakeGitHub, github: GitHub) -> None:
    """Each pull request has a comment of its own."""
    github.keep_comment(REPOSITORY, 7, comment("seven"))
    github.keep_comment(REPOSITORY, 8, comment("eight"))

    assert [each.number for each in double.comments] == [7, 8]


def test_an_issue_is_opened_changed_and_closed(double: FakeGitHub, github: GitHub) -> None:
    """There is one from the first failure to the end of the last; a later failure opens a new one."""
    news = StickyComment(mark="<!-- ci news run=2 -->", body="<!-- ci news run=2 -->\nworse")
    github.keep_issue(REPOSITORY, "ci", MARK, opened("1"))
    github.keep_issue(REPOSITORY, "ci", MARK, opened("2", news=news))
    github.keep_issue(REPOSITORY, "ci", MARK, opened("3", is_open=False))
    github.keep_issue(REPOSITORY, "ci", MARK, opened("4"))

    assert [(each.body, each.state, each.labels) for each in double.issues] == [
        (f"{MARK}3", "closed", ("ci",)),
        (f"{MARK}4", "open", ("ci",)),
    ]
    assert [each.body for each in double.comments] == [news.body]


def test_an_issue_stays_as_it_is(double: FakeGitHub, github: GitHub) -> None:
    """Where nothing is to change nothing is written, neither without an issue nor with one."""
    github.keep_issue(REPOSITORY, "ci", MARK, lambda _: None)
    assert double.issues == []
    github.keep_issue(REPOSITORY, "ci", MARK, opened("1"))
    github.keep_issue(
        REPOSITORY, "ci", MARK, lambda earlier: None if earlier == f"{MARK}1" else opened("2")("")
    )

    assert [(each.body, each.edits) for each in double.issues] == [(f"{MARK}1", 0)]


def test_a_second_open_issue_is_closed(double: FakeGitHub, github: GitHub) -> None:
    """Two runs that open one at the same moment do not leave two."""
    for mark in ("<!-- one ", "<!-- two "):
        github.keep_issue(REPOSITORY, "ci", mark, lambda _: IssueChange(title="It fails", body=MARK))

    github.keep_issue(REPOSITORY, "ci", MARK, lambda _: None)

    assert [each.state for each in double.issues] == ["open", "closed"]


SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."


@pytest.mark.parametrize(
    ("status", "message", "headers"),
    [
        (500, "Server Error", {}),
        (502, "Bad Gateway", {}),
        (503, "Unavailable", {"Retry-After": "0"}),
        (403, SECONDARY, {"Retry-After": "0"}),
        (429, "Too many requests", {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}),
    ],
)
def test_what_passes_is_tried_again(
    double: FakeGitHub, github: GitHub, status: int, message: str, headers: dict[str, str]
) -> None:
    """Server errors and rate limits that are over soon lose nothing."""
    double.fail(status, message=message, headers=headers, times=2)

    github.set_status(REPOSITORY, COMMIT, PASSED)

    assert double.states(COMMIT) == {"ci/unit": "success"}
    assert len(double.requests) == 3


@pytest.mark.parametrize("on", ["POST", "PATCH"])
def test_what_was_carried_out_and_answered_with_an_error_is_there_once(
    double: FakeGitHub, github: GitHub, on: str
) -> None:
    """A comment or issue whose answer was lost is found by the next try, not made again."""
    news = StickyComment(mark="<!-- ci news run=2 -->", body="<!-- ci news run=2 -->\nworse")
    double.fail(502, on=on, times=3, done_before=True)

    github.keep_comment(REPOSITORY, 7, comment("text"))
    github.keep_issue(REPOSITORY, "ci", MARK, opened("1"))
    github.keep_issue(REPOSITORY, "ci", MARK, opened("2", news=news))

    assert [each.body for each in double.issues] == [f"{MARK}2"]
    assert [each.body for each in double.comments] == [comment("text").body, news.body]


@pytest.mark.parametrize(
    ("status", "message", "mend"),
    [
        (401, "Bad credentials", "put a token that is valid into KVSYNC_CI_GITHUB_TOKEN"),
        (403, "Resource not accessible", "allow the token to write commit statuses"),
        (404, "Not Found", "there is no such repository, commit or pull request"),
        (422, "No commit found", "the repository does not have this commit"),
        (307, "Moved Permanently", "the repository has another name now"),
    ],
)
def test_what_does_not_pass_is_not_tried_again(
    double: FakeGitHub, github: GitHub, status: int, message: str, mend: str
) -> None:
    """What only a person can mend fails at once and says how."""
    double.fail(status, message=message)

    with pytest.raises(NotSent) as failure:
        github.set_status(REPOSITORY, COMMIT, PASSED)

    assert str(failure.value).startswith(f"status ci/unit of {COMMIT} in {REPOSITORY}: GitHub answered")
    assert message in str(failure.value)
    assert mend in str(failure.value)
    assert len(double.requests) == 1


@pytest.mark.parametrize(
    ("status", "message", "headers"),
    [
        (403, SECONDARY, {"Retry-After": "3600"}),
        (403, SECONDARY, {}),
        (403, "API rate limit exceeded", {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4102444800"}),
        (503, "Unavailable", {"Retry-After": "600"}),
    ],
    ids=["told", "secondary", "primary", "maintenance"],
)
def test_a_long_wait_is_not_waited_for(
    double: FakeGitHub, github: GitHub, status: int, message: str, headers: dict[str, str]
) -> None:
    """A run does not end an hour later because GitHub asks for that."""
    double.fail(status, message=message, headers=headers)

    with pytest.raises(NotSent, match=message):
        github.set_status(REPOSITORY, COMMIT, PASSED)

    assert len(double.requests) == 1


def test_retries_end(double: FakeGitHub, connect: Callable[..., GitHub]) -> None:
    """As many as the settings say."""
    double.fail(500)

    with pytest.raises(NotSent, match="that may pass"):
        connect(double.url, retries=2).set_status(REPOSITORY, COMMIT, PASSED)

    assert len(double.requests) == 3


def test_patience_ends_retries(double: FakeGitHub, connect: Callable[..., GitHub]) -> None:
    """However many the settings allow, waiting has an end."""
    double.fail(500)

    with pytest.raises(NotSent):
        connect(double.url, patience_s=0.2, retries=1000).set_status(REPOSITORY, COMMIT, PASSED)

    assert len(double.requests) < 10


def test_a_lost_connection_is_tried_again() -> None:
    """As after a server error."""
    assert pause_s(requests.ConnectionError(), 0.5, 0.0) == 0.5


def test_nobody_listens(connect: Callable[..., GitHub]) -> None:
    """A GitHub that is away is tried again, and then told with what to look at."""
    with FakeGitHub(REPOSITORY, token=TOKEN) as double:
        pass

    with pytest.raises(NotSent, match=r"GitHub does not answer .*check KVSYNC_CI_GITHUB_API_URL"):
        connect(double.url, retries=1).set_status(REPOSITORY, COMMIT, PASSED)


def test_silence(connect: Callable[..., GitHub]) -> None:
    """A GitHub that takes requests and never answers costs one request, then nothing is tried any more."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        github = connect(f"http://127.0.0.1:{mute.getsockname()[1]}", patience_s=0.5, timeout_s=1)

        with pytest.raises(NotSent, match="ReadTimeout"):
            github.set_status(REPOSITORY, COMMIT, PASSED)
        with pytest.raises(NotSent, match="took too long before"):
            github.set_status(REPOSITORY, COMMIT, PASSED)


def test_the_token_is_nowhere(
    double: FakeGitHub, connect: Callable[..., GitHub], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither logs of any level nor errors, with what caused them, have it."""
    caplog.set_level(logging.DEBUG)
    secret = "ghp_wrongAndPrivate"  # noqa: S105 - refused by the double

    with pytest.raises(NotSent) as failure:
        connect(double.url, token=secret).keep_comment(REPOSITORY, 7, comment("text"))

    assert "GitHub answered 401" in str(failure.value)
    assert secret not in caplog.text + "".join(traceback.format_exception(failure.value))
    assert "/repos/octo/engine" in caplog.text
