"""Puts statuses, comments and issues on GitHub, each so that doing it again changes nothing.

- Whatever goes wrong is NotSent, with the mend; neither its text nor any log has the token.
- Server errors, lost connections and rate limits are tried again, the whole step each time: a request that
  failed may have been carried out, and a step begins by looking at what is there. (PyGithub's own retries
  repeat the bare request, which leaves two comments, and wait as long as GitHub tells them to.)
- All steps of one GitHub object together lose no more time to failures than its patience, and one request.
"""

import time
from collections.abc import Callable
from functools import cached_property
from typing import Literal, Self, TypeVar

from github import Auth, Github, GithubException, RateLimitExceededException
from github.Issue import Issue
from github.IssueComment import IssueComment
from github.Repository import Repository
from requests import RequestException

from kvsync.ci.notify.messages import CommitStatus, IssueChange, NotSent, StickyComment
from kvsync.ci.settings import GitHubSettings

Reaction = Literal["+1", "-1", "confused", "eyes", "rocket"]

SECONDARY_LIMIT_S = 60.0
"""What GitHub's documentation demands where its answer names no time."""

_Done = TypeVar("_Done")


class GitHub:
    """GitHub as the owner of the token sees it. Every method raises NotSent.

    `patience_s`: what failures may cost all together, with the waits after them; then nothing is tried any
    more. `timeout_s`: of one request.
    """

    def __init__(
        self,
        settings: GitHubSettings,
        *,
        patience_s: float,
        timeout_s: int = 10,
        first_pause_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._github = Github(
            auth=Auth.Token(settings.token.get_secret_value().strip()),
            base_url=settings.api_url,
            timeout=timeout_s,
            per_page=100,
            retry=None,
            seconds_between_requests=0,
            seconds_between_writes=0,
        )
        self._retries, self._first_pause_s = settings.retries, first_pause_s
        self._clock, self._sleep = clock, sleep
        self._patience_s, self._lost_s = patience_s, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._github.close()

    def owner(self) -> str:
        """Return the login of whom the token belongs to; "" for an app."""
        return self._do("whose token it is", lambda: self._login)

    def set_status(self, repository: str, commit: str, status: CommitStatus) -> None:
        """Set a status of a commit; the newest one of a context counts."""
        wanted = {"context": status.context, "state": status.state, "description": status.description}
        wanted |= {"target_url": status.link} if status.link else {}

        def post() -> None:
            # Without PyGithub's Commit, which would be fetched for nothing.
            path = f"/repos/{repository}/statuses/{commit}"
            _, answer = self._github.requester.requestJsonAndCheck("POST", path, input=wanted)
            if answer.get("context") != status.context:  # PyGithub takes a redirection for success
                raise GithubException(301, answer, message="no status was made")

        self._do(f"status {status.context} of {commit} in {repository}", post)

    def react(self, repository: str, comment: int, content: Reaction) -> None:
        """React to a comment; a second time changes nothing."""
        path = f"/repos/{repository}/issues/comments/{comment}/reactions"

        def post() -> None:
            self._github.requester.requestJsonAndCheck("POST", path, input={"content": content})

        self._do(f"reaction to comment {comment} in {repository}", post)

    def keep_comment(self, repository: str, number: int, comment: StickyComment) -> None:
        """Write the comment of a pull request or issue, in place of our earlier one."""

        def keep() -> None:
            self._keep_comment(self._repository(repository).get_issue(number), comment)

        self._do(f"comment on #{number} in {repository}", keep)

    def keep_issue(
        self, repository: str, label: str, mark: str, decide: Callable[[str], IssueChange | None]
    ) -> None:
        """Open, change or close the one issue with this label that begins with `mark`.

        `decide` gets the text of the open one or "", and returns None where nothing is to change. Should
        there be several, the oldest stays.
        """

        def keep() -> None:
            there = self._repository(repository)
            found = [
                each for each in there.get_issues(state="open", labels=[label]) if self._is_ours(each, mark)
            ]
            found.sort(key=lambda issue: issue.number)
            first = found[0] if found else None
            change = decide(first.body if first else "")
            if change and not first:
                there.create_issue(change.title, change.body, labels=[label])
            elif change and first:
                if change.news:
                    self._keep_comment(first, change.news)
                first.edit(body=change.body, state="open" if change.is_open else "closed")
            for issue in found[1:]:
                issue.edit(state="closed")

        self._do(f"issue {label!r} in {repository}", keep)

    def _keep_comment(self, issue: Issue, comment: StickyComment) -> None:
        ours = (each for each in issue.get_comments() if self._is_ours(each, comment.mark))
        found = next(ours, None)
        if not found:
            issue.create_comment(comment.body)
        elif found.body != comment.body and comment.replaces(found.body):
            found.edit(comment.body)

    def _repository(self, name: str) -> Repository:
        """Fetched, since only this leads from a repository's old name to its new one."""
        return self._github.get_repo(name)

    def _is_ours(self, text: Issue | IssueComment, mark: str) -> bool:
        """Anyone can copy the mark; no one else can write in our name."""
        author = text.user
        if not author or not (text.body or "").startswith(mark):
            return False
        return author.login == self._login if self._login else author.type == "Bot"

    @cached_property
    def _login(self) -> str:
        """Who we are; "" for an app, which GitHub does not tell its name."""
        try:
            return self._github.get_user().login
        except GithubException as exc:
            if exc.status == 403 and pause_s(exc, 0.0, 0.0) is None:
                return ""
            raise

    def _do(self, what: str, step: Callable[[], _Done]) -> _Done:
        """Carry out a step, again and again while that can help and there is time."""
        if self._lost_s >= self._patience_s:
            raise NotSent(f"{what}: not sent to GitHub, which took too long before", passing=True)
        attempt = 0
        while True:
            started = self._clock()
            try:
                return step()
            except Exception as exc:  # a strange answer breaks PyGithub in many ways
                self._lost_s += self._clock() - started
                pause = pause_s(exc, self._first_pause_s * 2**attempt, time.time())
                if pause is None or attempt >= self._retries or self._lost_s + pause > self._patience_s:
                    raise NotSent(f"{what}: {reason(exc)}", passing=pause is not None) from exc
            self._sleep(pause)
            self._lost_s += pause
            attempt += 1


def pause_s(error: Exception, default_s: float, now: float) -> float | None:
    """Return how long to wait before trying again, None where that is useless; `now` is a Unix time."""
    if isinstance(error, RequestException):
        return default_s
    if not isinstance(error, GithubException):
        return None
    headers = error.headers or {}
    if (told := headers.get("retry-after", "")).isdigit():
        return max(float(told), default_s)
    if isinstance(error, RateLimitExceededException) or error.status == 429:
        if headers.get("x-ratelimit-remaining") == "0":
            return max(float(headers.get("x-ratelimit-reset", 0)) - now, default_s)
        return SECONDARY_LIMIT_S
    return default_s if error.status >= 500 else None


def reason(error: Exception) -> str:
    """Say why GitHub did not take something, and how to mend it."""
    if isinstance(error, RequestException):
        return (
            f"GitHub does not answer ({type(error).__name__}); check KVSYNC_CI_GITHUB_API_URL and the network"
        )
    if not isinstance(error, GithubException):
        return f"the answer is not GitHub's ({type(error).__name__}); check KVSYNC_CI_GITHUB_API_URL"
    said = f"GitHub answered {error.status}: {_said(error)}"
    if _FULL in said:
        return f"{said}; push another commit, or have fewer runs of one"
    if isinstance(error, RateLimitExceededException) or error.status == 429:
        return f"{said}; the token's requests are used up for now"
    return f"{said}; {_MENDS.get(error.status, 'that may pass')}"


_MENDS = {
    301: "the repository has another name now; use that one",
    401: "put a token that is valid into KVSYNC_CI_GITHUB_TOKEN",
    403: "allow the token to write commit statuses, pull requests and issues of this repository",
    404: "there is no such repository, commit or pull request, or the token may not see it",
    422: "the repository does not have this commit, or refuses what it was sent",
}


_FULL = "reached the maximum number of statuses"
"""What GitHub says of the 1,001st status of a commit and context."""


def _said(error: GithubException) -> str:
    """Return GitHub's words: "Validation Failed" says nothing without what it lists."""
    answer = error.data if isinstance(error.data, dict) else {}
    listed = answer.get("errors")
    more = [str(each.get("message") or "") for each in listed if isinstance(each, dict)] if listed else []
    words = " ".join([str(answer.get("message") or error.message or "no reason"), *more])
    return " ".join(words.split())[:200]
