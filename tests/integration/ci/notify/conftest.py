"""A double of GitHub, and a client of it that does not wait long."""

from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr

from kvsync.ci.notify.github import GitHub
from kvsync.ci.notify.github_double import FakeGitHub
from kvsync.ci.settings import GitHubSettings

REPOSITORY = "octo/engine"
TOKEN = "ghp_veryPrivate123"  # noqa: S105 - of the double

Connect = Callable[..., GitHub]


@pytest.fixture
def double() -> Iterator[FakeGitHub]:
    """GitHub, with one repository."""
    with FakeGitHub(REPOSITORY, token=TOKEN) as github:
        yield github


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make a client of what listens at a URL; its pauses between tries are milliseconds."""
    clients = []

    def make(
        url: str, *, patience_s: float = 5.0, retries: int = 5, token: str = TOKEN, timeout_s: int = 10
    ) -> GitHub:
        settings = GitHubSettings(api_url=url, token=SecretStr(token), retries=retries)
        clients.append(GitHub(settings, patience_s=patience_s, timeout_s=timeout_s, first_pause_s=0.001))
        return clients[-1]

    yield make
    for client in clients:
        client.__exit__()


@pytest.fixture
def github(double: FakeGitHub, connect: Connect) -> GitHub:
    """A client of the double."""
    return connect(double.url)
