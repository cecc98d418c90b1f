"""Looks up at GitHub what a delivery does not say: the commit, what it touches, who may write."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from typing import Any
from urllib.parse import quote

import requests
from github import Auth, Github, GithubException, RateLimitExceededException
from github.File import File
from github.PullRequest import PullRequest as GitHubPull
from pydantic import ValidationError

from deployments.webhook.decision import Ask, are_ignored
from deployments.webhook.payload import MergeGroup, PullRequest, Push, WebhookEvent
from deployments.webhook.refusal import NotNow, RunRefused
from kvsync.ci.run.parameters import CommitSource
from kvsync.ci.settings import GitHubSettings

TIMEOUT_S = 10
PAGE = 100
QUEUE = "gh-readonly-queue"
"""Where GitHub keeps the branches of merge queues: `<this>/<base>/pr-...`."""
GONE = (404, 410, 422)
"""What GitHub answers for a pull request, branch or commit that does not exist."""


def open_github(settings: GitHubSettings) -> Github:
    """Return a client of GitHub's API, which asks once and gives up soon."""
    token = settings.token.get_secret_value()
    return Github(
        auth=Auth.Token(token) if token else None,
        base_url=settings.api_url,
        timeout=TIMEOUT_S,
        per_page=PAGE,
        lazy=True,
        retry=None,  # who asks tries again by itself
        seconds_between_requests=None,  # a delivery asks a few; PyGithub would pause before each
    )


class Heads:
    """The part of GitHub's API needed here. Without a token it answers for public repositories only."""

    def __init__(self, settings: GitHubSettings, ignored_paths: tuple[str, ...] = ()) -> None:
        self._ignored_paths = ignored_paths
        self._github = open_github(settings)

    def find(self, ask: Ask) -> CommitSource:
        """Return the commit that is meant. Blocks. Raises NotNow, or RunRefused if there is none."""
        with mapped(f"the commit of {ask.repository} {ask.pull_request or ask.ref}"):
            repository = self._github.get_repo(ask.repository)
            if ask.pull_request is None:
                # Until it is completed, PyGithub's hash is the end of the URL: the name of the branch.
                commit = repository.get_commit(ask.ref.removeprefix("refs/")).complete().sha
                ref = ask.ref.split("/", 2)[2]
                return CommitSource(url=ask.url, commit=commit, repository=ask.repository, ref=ref)
            pull = repository.get_pull(ask.pull_request)
            if pull.state != "open":
                raise RunRefused(f"{ask.repository}#{ask.pull_request} is no longer open")
            return CommitSource(
                url=ask.url,
                commit=pull.head.sha,
                repository=ask.repository,
                ref=pull.head.ref,
                pull_request=ask.pull_request,
                base=_base(pull),
                # None for a person who left GitHub, despite PyGithub's types.
                author=pull.user.login if pull.user else "",
                # PyGithub returns None for the repository of a deleted fork, despite its types.
                trusted=bool(pull.head.repo) and pull.head.repo.full_name == ask.repository,
            )

    def touches_nothing(self, source: CommitSource) -> bool:
        """Whether a pull request changes only ignored paths; False if GitHub does not tell. Blocks."""
        if not source.repository or source.pull_request is None or not self._ignored_paths:
            return False
        try:
            pull = self._github.get_repo(source.repository).get_pull(source.pull_request)
            return are_ignored(_names(pull.get_files()), self._ignored_paths)
        except (GithubException, requests.RequestException):
            return False

    def missed(self, repository: str, branches: Iterable[str], since: datetime) -> Iterator[WebhookEvent]:
        """Yield the events that led to how things stand: of branches, queues, and what changed since a time.

        Blocks. Raises NotNow; also RunRefused, for a repository that is not there.
        """
        with mapped(f"what was missed in {repository}"):
            there, nobody = self._json(f"/repos/{repository}"), {"login": "", "type": "User"}
            common = {"repository": there, "sender": nobody}
            for branch in branches:
                if commit := self._head(repository, branch):
                    yield Push.model_validate({**common, "ref": f"refs/heads/{branch}", "after": commit})
            for pull in self._changed_pulls(repository, since):
                given = {"action": "synchronize", "number": pull["number"], "pull_request": pull}
                yield PullRequest.model_validate({**common, **given})
            for ref in self._json(f"/repos/{repository}/git/matching-refs/heads/{QUEUE}/"):
                base = ref["ref"].removeprefix(f"refs/heads/{QUEUE}/").rpartition("/")[0]
                group = {"head_sha": ref["object"]["sha"], "head_ref": ref["ref"], "base_ref": base}
                yield MergeGroup.model_validate(
                    {**common, "action": "checks_requested", "merge_group": group}
                )

    def has_status(self, repository: str, commit: str, context: str) -> bool:
        """Whether a commit has a status of ours: it has, or had, a run. Blocks. Raises NotNow, RunRefused."""
        with mapped(f"the statuses of {commit} in {repository}"):
            found = self._json(f"/repos/{repository}/commits/{commit}/status?per_page=100")
        names = [each["context"] for each in found["statuses"]]
        return any(name == context or name.startswith(f"{context}/") for name in names)

    def _head(self, repository: str, branch: str) -> str:
        try:
            return str(self._json(f"/repos/{repository}/commits/heads/{quote(branch)}")["sha"])
        except GithubException as exc:
            if exc.status in GONE:
                return ""
            raise

    def _changed_pulls(self, repository: str, since: datetime) -> Iterator[dict[str, Any]]:
        """Yield the open pull requests that changed since a time, the last one first."""
        for page in count(1):
            query = f"state=open&sort=updated&direction=desc&per_page={PAGE}&page={page}"
            found = self._json(f"/repos/{repository}/pulls?{query}")
            for pull in found:
                if datetime.fromisoformat(pull["updated_at"]) < since:
                    return
                yield pull
            if len(found) < PAGE:
                return

    def _json(self, path: str) -> Any:
        return self._github.requester.requestJsonAndCheck("GET", path)[1]

    def may_write(self, repository: str, login: str) -> bool:
        """Whether a person has write access. Blocks. Raises NotNow, or RunRefused if GitHub does not tell."""
        what = f"whether {login} may write to {repository}"
        with mapped(what):
            try:
                access = self._github.get_repo(repository).get_collaborator_permission(login)
            except GithubException as exc:
                if exc.status in (401, 403) and not isinstance(exc, RateLimitExceededException):
                    # Not NotNow: anyone can comment, and would keep us asking.
                    raise RunRefused(
                        f"{what}: GitHub answered {exc.status}; put a token with write access into "
                        "KVSYNC_CI_GITHUB_TOKEN, or the name into webhook.actors"
                    ) from exc
                raise
            return access in ("admin", "write")


def _base(pull: GitHubPull) -> str:
    """Return the branch that a pull request goes to, "" for the repository's own."""
    # None in an answer without it, despite PyGithub's types.
    return pull.base.ref if pull.base and pull.base.ref != pull.base.repo.default_branch else ""


def _names(files: Iterable[File]) -> Iterator[str]:
    """Name each file; a moved file has both its names, as it is gone from the old place."""
    for file in files:
        yield file.filename
        if file.previous_filename:
            yield file.previous_filename


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Raise NotNow, or RunRefused for what does not exist, for whatever GitHub answers or does not."""
    try:
        yield
    except GithubException as exc:
        if exc.status in GONE:
            raise RunRefused(f"{what}: GitHub answered {exc.status}") from exc
        raise NotNow("github", f"{what}: GitHub answered {exc.status}") from exc
    except requests.RequestException as exc:
        raise NotNow("github", f"{what}: {type(exc).__name__}") from exc
    except ValidationError as exc:
        raise RunRefused(
            f"{what}: {exc.error_count()} fields of GitHub's answer are not fit for a run"
        ) from exc
