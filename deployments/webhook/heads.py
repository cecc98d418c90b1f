"""Looks up at GitHub which commit is meant where a delivery does not say it."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from github import Auth, Github, GithubException
from pydantic import ValidationError

from deployments.webhook.decision import Ask
from deployments.webhook.refusal import NotNow, Refused
from kvsync.testing.settings import GitHubSettings
from tasks.parameters import Source

TIMEOUT_S = 10
GONE = (404, 410, 422)
"""What GitHub answers for a pull request, branch or commit that is not there."""


class Heads:
    """GitHub's API as far as it is needed here. Without a token it answers for public repositories only."""

    def __init__(self, settings: GitHubSettings) -> None:
        token = settings.token.get_secret_value()
        self._github = Github(
            auth=Auth.Token(token) if token else None,
            base_url=settings.api_url,
            timeout=TIMEOUT_S,
            lazy=True,
            retry=None,  # the dispatcher comes back by itself
        )

    def find(self, ask: Ask) -> Source:
        """Return the commit that is meant. Blocks. Raises NotNow, or Refused where there is none."""
        with _mapped(ask):
            repository = self._github.get_repo(ask.repository)
            if ask.pull_request is None:
                # Before it is completed, PyGithub takes the hash from the URL: the name of the branch.
                commit = repository.get_commit(ask.ref.removeprefix("refs/")).complete().sha
                ref = ask.ref.split("/", 2)[2]
                return Source(url=ask.url, commit=commit, repository=ask.repository, ref=ref)
            pull = repository.get_pull(ask.pull_request)
            if pull.state != "open":
                raise Refused(f"{ask.repository}#{ask.pull_request} is not open any more")
            return Source(
                url=ask.url,
                commit=pull.head.sha,
                repository=ask.repository,
                ref=pull.head.ref,
                pull_request=ask.pull_request,
                # PyGithub says None for the repository of a deleted fork, against its own types.
                trusted=bool(pull.head.repo) and pull.head.repo.full_name == ask.repository,
            )


@contextmanager
def _mapped(ask: Ask) -> Iterator[None]:
    what = f"the commit of {ask.repository} {ask.pull_request or ask.ref}"
    try:
        yield
    except GithubException as exc:
        if exc.status in GONE:
            raise Refused(f"{what}: GitHub answered {exc.status}") from exc
        raise NotNow("github", f"{what}: GitHub answered {exc.status}") from exc
    except requests.RequestException as exc:
        raise NotNow("github", f"{what}: {type(exc).__name__}") from exc
    except ValidationError as exc:
        raise Refused(f"{what}: {exc.error_count()} fields of GitHub's answer are not fit for a run") from exc
