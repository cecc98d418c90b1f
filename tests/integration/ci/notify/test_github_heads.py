"""What a pull request touches, asked of a double of GitHub."""

from collections.abc import Mapping

import pytest
from pydantic import SecretStr

from deployments.webhook.heads import Heads
from kvsync.ci.notify.github_double import FakeGitHub
from kvsync.ci.run.parameters import CommitSource
from kvsync.ci.settings import GitHubSettings
from tests.integration.ci.notify.conftest import REPOSITORY, TOKEN

IGNORED = ("docs/**", "*.md")
FILES = f"GET /repos/{REPOSITORY}/pulls/7/files"


def asked(double: FakeGitHub, token: str = TOKEN, **source: object) -> bool:
    """Return what the receiver learns of pull request 7."""
    given = {
        "url": f"https://github.com/{REPOSITORY}.git",
        "commit": "c" * 40,
        "repository": REPOSITORY,
        "pull_request": 7,
    }
    settings = GitHubSettings(api_url=double.url, token=SecretStr(token))
    return Heads(settings, IGNORED).touches_nothing(CommitSource.model_validate(given | source))


DOCS = {f"docs/{number}.txt": "" for number in range(150)}


@pytest.mark.parametrize(
    ("files", "ignored", "requests"),
    [
        ({"README.md": ""}, True, 1),
        (DOCS, True, 2),
        (DOCS | {"kvsync/index.py": ""}, False, 2),
        ({"kvsync/index.py": ""} | DOCS, False, 1),
        ({"docs/index.md": "kvsync/index.py"}, False, 1),
        ({}, False, 1),
    ],
    ids=["one", "two pages", "code last", "code first", "moved", "none"],
)
def test_all_files_are_looked_at_until_one_counts(
    double: FakeGitHub, files: Mapping[str, str], ignored: bool, requests: int
) -> None:
    """Page by page; a file that was moved is two."""
    double.change(REPOSITORY, 7, files)

    assert asked(double) is ignored
    assert double.requests == [FILES] * requests


@pytest.mark.parametrize("token", ["", "ghp_wrong"], ids=["without a token", "a wrong token"])
def test_where_github_tells_nothing_the_run_is_started(double: FakeGitHub, token: str) -> None:
    """Nothing is lost by asking."""
    double.change(REPOSITORY, 7, DOCS)
    assert not asked(double, token)
    double.fail(502)
    assert not asked(double)


def test_a_github_that_is_away_tells_nothing() -> None:
    """As one that refuses to."""
    with FakeGitHub(REPOSITORY, token=TOKEN) as double:
        pass

    assert not asked(double)


def test_a_push_is_not_asked_about(double: FakeGitHub) -> None:
    """Its delivery says what it touches."""
    assert not asked(double, pull_request=None)
    assert double.requests == []
