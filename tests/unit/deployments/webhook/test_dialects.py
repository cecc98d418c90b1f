"""What deliveries of Gitea, Forgejo and GitLab lead to."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable

import pytest
from pydantic import JsonValue
from starlette.datastructures import Headers

from deployments.webhook.decision import Cancel, Ignore, Start, Work, decide, place_of
from deployments.webhook.dialects.gitlab import GITLAB
from deployments.webhook.dialects.table import dialect_of
from kvsync.ci.run.parameters import CommitSource
from kvsync.ci.settings import GitHubSettings, RepositorySettings, Settings, WebhookSettings
from kvsync.errors import DecodeError
from tests.payloads.forges import (
    ANN,
    COMMIT,
    FORK_COMMIT,
    GUEST,
    HOST,
    Document,
    gitea_comment,
    gitea_headers,
    gitea_pull_request,
    gitea_push,
    gitlab_headers,
    gitlab_merge_request,
    gitlab_note,
    gitlab_push,
)

SECRET = "it is a secret to everybody"  # noqa: S105 - nobody's
URL = f"git@{HOST}:team/shop.git"
NAME = f"{HOST}/team/shop"


def settings(**webhook: object) -> Settings:
    """Settings with one repository on another server; at GitHub, a stranger is called Ann."""
    return Settings(
        webhook=WebhookSettings.model_validate({"actors": (GUEST,), "trusted_authors": (GUEST,), **webhook}),
        repositories={"shop": RepositorySettings(url=URL, actors=(ANN,))},
    )


OURS = settings()


def gitea(event: str, document: Document, ours: Settings = OURS) -> Work | Ignore:
    """What follows from a delivery of Gitea's."""
    body = json.dumps(document).encode()
    dialect = dialect_of(Headers(gitea_headers(event, body, "1", SECRET)))
    return decide(dialect.events[event][1](body), ours)


def gitlab(event: str, document: Document, ours: Settings = OURS) -> Work | Ignore:
    """What follows from a delivery of GitLab's."""
    dialect = dialect_of(Headers(gitlab_headers(event, "1", SECRET)))
    return decide(dialect.events[event][1](json.dumps(document).encode()), ours)


SOURCE = CommitSource(url=URL, commit=COMMIT, ref="main", author=ANN)
PROPOSED = SOURCE.model_copy(update={"ref": "count", "pull_request": 7})
FROM_FORK = PROPOSED.model_copy(update={"commit": FORK_COMMIT, "trusted": False, "author": GUEST})

PUSHES = [
    pytest.param(gitea, "push", gitea_push, id="gitea"),
    pytest.param(gitlab, "Push Hook", gitlab_push, id="gitlab"),
]
Decided = Callable[..., Work | Ignore]


@pytest.mark.parametrize(("decided", "event", "push"), PUSHES)
def test_a_push_runs_its_commit_from_where_the_settings_say(
    decided: Decided, event: str, push: Callable[..., Document]
) -> None:
    """GitHub is not answered. What it touches is not known: of thirty commits, one is listed."""
    asked: dict[str, JsonValue] = {"trigger": "push", "follows": "shop"}
    assert decided(event, push()) == Start(
        deployment="commit", asked=asked, source=SOURCE, pushed_over=push()["before"]
    )


@pytest.mark.parametrize(("decided", "event", "push"), PUSHES)
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ref": "refs/heads/other"}, "refs/heads/other is not a branch in its [repositories.NAME]"),
        ({"ref": "refs/tags/v1"}, "refs/tags/v1 is not a branch in its [repositories.NAME]"),
        ({"after": "0" * 40}, "refs/heads/main was deleted"),
        ({"after": "--upload-pack=x"}, "commit: "),
    ],
)
def test_other_pushes_start_nothing(
    decided: Decided, event: str, push: Callable[..., Document], changes: dict[str, object], why: str
) -> None:
    """A tag is pushed with another hook of GitLab's, which is read alike."""
    found = decided(event, push(**changes))

    assert isinstance(found, Ignore)
    assert found.reason.startswith(why)


def test_a_tag_of_gitlabs() -> None:
    """It has a hook of its own."""
    found = gitlab("Tag Push Hook", gitlab_push(ref="refs/tags/v1", object_kind="tag_push"))

    assert isinstance(found, Ignore)
    assert found.reason.startswith("refs/tags/v1 is not a branch")


@pytest.mark.parametrize(("decided", "event", "push"), PUSHES)
def test_a_last_commit_that_skips_ci(decided: Decided, event: str, push: Callable[..., Document]) -> None:
    """Where the settings hear it."""
    document = json.loads(json.dumps(push()).replace("cart: count once", "typo [skip ci]"))

    assert isinstance(decided(event, document), Start)
    assert isinstance(decided(event, document, settings(skip_ci=True)), Ignore)


PULLS = [
    pytest.param(
        gitea, "pull_request", gitea_pull_request(), gitea_pull_request(GUEST, FORK_COMMIT), id="gitea"
    ),
    pytest.param(
        gitlab,
        "Merge Request Hook",
        gitlab_merge_request(),
        gitlab_merge_request("guest/shop", FORK_COMMIT),
        id="gitlab",
    ),
]


@pytest.mark.parametrize(("decided", "event", "own", "fork"), PULLS)
def test_new_commits_of_a_pull_request_run(
    decided: Decided, event: str, own: Document, fork: Document
) -> None:
    """A fork's are untrusted, and nobody vouches for them: who is somebody at GitHub is nobody here."""
    found, theirs = decided(event, own), decided(event, fork)

    assert isinstance(found, Start)
    assert isinstance(theirs, Start)
    assert (found.source, theirs.source) == (PROPOSED, FROM_FORK)
    assert (found.vouched, theirs.vouched) == (True, False)
    assert (found.pull_request, found.supersedes) == (f"{NAME}#7", True)


def test_whose_fork_is_gone_is_a_stranger() -> None:
    """No repository has its branch any more."""
    for found in (
        gitea("pull_request", gitea_pull_request(pull_request__head__repo=None)),
        gitlab(
            "Merge Request Hook",
            gitlab_merge_request(object_attributes__source=None, object_attributes__source_project_id=None),
        ),
        gitlab("Merge Request Hook", gitlab_merge_request(object_attributes__source_project_id=16)),
        gitlab("Merge Request Hook", gitlab_merge_request(project__id=17)),
    ):
        assert isinstance(found, Start)
        assert isinstance(found.source, CommitSource)
        assert not found.source.trusted


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (gitea("pull_request", gitea_pull_request(action="opened")), Start),
        (gitea("pull_request", gitea_pull_request(action="reopened")), Start),
        (gitea("pull_request", gitea_pull_request(action="closed")), Cancel),
        (gitea("pull_request", gitea_pull_request(action="label_updated")), Ignore),
        (gitlab("Merge Request Hook", gitlab_merge_request(object_attributes__action="open")), Start),
        (gitlab("Merge Request Hook", gitlab_merge_request(object_attributes__action="reopen")), Start),
        (gitlab("Merge Request Hook", gitlab_merge_request(object_attributes__action="close")), Cancel),
        (gitlab("Merge Request Hook", gitlab_merge_request(object_attributes__action="merge")), Cancel),
        (gitlab("Merge Request Hook", gitlab_merge_request(object_attributes__action="approved")), Ignore),
        (gitlab("Merge Request Hook", gitlab_merge_request(object_attributes__oldrev=None)), Ignore),
    ],
)
def test_what_happens_to_a_pull_request(found: Work | Ignore, kind: type) -> None:
    """An update of GitLab's without `oldrev` has no new commits."""
    assert isinstance(found, kind)


def test_a_draft_waits_until_it_is_ready() -> None:
    """Where the settings skip drafts; Gitea says it by the title."""
    skip = settings(drafts="skip")
    was = {"title": {"from": "WIP: Count once"}}
    ready = {"draft": {"previous": True, "current": False}}
    gitea_drafts: list[dict[str, object]] = [
        {"pull_request__title": "WIP: Count once"},
        {"pull_request__draft": True},
        {"action": "edited", "changes": {"title": {"from": "Count"}}},
    ]
    for changes in gitea_drafts:
        assert isinstance(gitea("pull_request", gitea_pull_request(**changes), skip), Ignore)
    assert isinstance(gitea("pull_request", gitea_pull_request(action="edited", changes=was), skip), Start)
    draft = gitlab_merge_request(object_attributes__draft=True)
    assert isinstance(gitlab("Merge Request Hook", draft, skip), Ignore)
    done = gitlab_merge_request(object_attributes__oldrev=None, changes=ready)
    assert isinstance(gitlab("Merge Request Hook", done, skip), Start)


COMMENTS = [
    pytest.param(gitea, "issue_comment", gitea_comment, GUEST, id="gitea"),
    pytest.param(gitlab, "Note Hook", gitlab_note, "guest/shop", id="gitlab"),
]


@pytest.mark.parametrize(("decided", "event", "comment", "fork"), COMMENTS)
def test_commands_in_comments(
    decided: Decided, event: str, comment: Callable[..., Document], fork: str
) -> None:
    """They are of the commit that the delivery names, and of whom the settings name for this repository."""
    found = decided(event, comment("/run unit e2e"))
    approved = decided(event, comment("/ok-to-test", fork, FORK_COMMIT))

    assert isinstance(found, Start)
    assert (found.deployment, found.asked["stages"], found.source) == ("adhoc", ["unit", "e2e"], PROPOSED)
    assert isinstance(approved, Start)
    assert isinstance(approved.source, CommitSource)
    assert (approved.source.commit, approved.source.trusted) == (FORK_COMMIT, False)
    assert approved.approval
    assert (approved.approval.by, approved.approval.is_actor) == (ANN, True)


@pytest.mark.parametrize(("decided", "event", "comment", "fork"), COMMENTS)
def test_commands_of_strangers(
    decided: Decided, event: str, comment: Callable[..., Document], fork: str
) -> None:
    """An actor at GitHub is somebody else here; and GitHub is told nothing."""
    by_guest = json.loads(json.dumps(comment("/ok-to-test", fork)).replace(f'"{ANN}"', f'"{GUEST}"'))
    found = decided(event, by_guest)

    assert isinstance(found, Ignore)
    assert found.reason == f"{GUEST} is not in the actors of its [repositories.NAME]"
    assert found.answer is None
    unknown = decided(event, comment("/rnu unit"))
    assert isinstance(unknown, Ignore)
    assert unknown.answer is None


@pytest.mark.parametrize(
    "found",
    [
        gitea("issue_comment", gitea_comment("/retest", action="edited")),
        gitea("issue_comment", gitea_comment("/retest", issue__pull_request=None)),
        gitea("issue_comment", gitea_comment("/retest", issue__state="closed")),
        gitea("issue_comment", gitea_comment("/retest", sender__login=GUEST)),
        gitea("issue_comment", gitea_comment("/retest", pull_request=None)),
        gitlab("Note Hook", gitlab_note("/retest", object_attributes__action="update")),
        gitlab("Note Hook", gitlab_note("/retest", object_attributes__system=True)),
        gitlab("Note Hook", gitlab_note("/retest", object_attributes__author_id=99)),
        gitlab("Note Hook", gitlab_note("/retest", object_attributes__noteable_type="Issue")),
        gitlab("Note Hook", gitlab_note("/retest", merge_request=None)),
        gitlab("Note Hook", gitlab_note("/retest", merge_request__state="merged")),
    ],
)
def test_comments_that_command_nothing(found: Work | Ignore) -> None:
    """Edited ones, on other things, of others than who sent them, without a commit."""
    assert isinstance(found, Ignore)


def test_a_repository_is_known_by_its_address() -> None:
    """Whatever protocol the settings have; one of the same name elsewhere is another."""
    elsewhere = json.loads(json.dumps(gitea_push()).replace(HOST, "other.example.org"))
    by = [
        f"https://{HOST}/team/shop",
        f"https://{HOST}:8443/team/shop.git",
        f"ssh://git@{HOST}:2222/team/shop",
    ]
    listed = settings(repositories=("team/shop",)).model_copy(update={"repositories": {}})
    found = [
        gitea(
            "push", gitea_push(), OURS.model_copy(update={"repositories": {"x": RepositorySettings(url=url)}})
        )
        for url in by
    ]

    assert all(isinstance(each, Start) for each in found)
    for other in (gitea("push", elsewhere), gitea("push", gitea_push(), listed)):
        assert isinstance(other, Ignore)
        assert "nor the url of a [repositories.NAME]" in other.reason


@pytest.mark.parametrize("url", ["/srv/team/shop", "srv/team/shop", "file:///srv/team/shop"])
@pytest.mark.parametrize("place", ["srv/team", "file/srv/team"])
def test_a_folder_is_no_server(url: str, place: str) -> None:
    """Its path cannot be taken for a host, nor does it fit a delivery without an address for SSH."""
    text = json.dumps(gitlab_push(project__git_ssh_url="")).replace(f"{HOST}/team", place)
    ours = Settings(repositories={"shop": RepositorySettings(url=url)})

    assert isinstance(gitlab("Push Hook", json.loads(text), ours), Ignore)


def test_places_are_named_by_their_server() -> None:
    """GitHub's are owner/name."""
    body = json.dumps(gitea_push()).encode()
    event = dialect_of(Headers(gitea_headers("push", body, "1", SECRET))).events["push"][1](body)

    assert place_of(event, OURS) == (f"{NAME} refs/heads/main", COMMIT)


def test_a_repository_at_github_may_be_in_either_place() -> None:
    """It is answered; the branch is the one that the settings have for it."""
    page = "https://github.com/team/shop"
    ours = Settings(repositories={"shop": RepositorySettings(url=page, branch="trunk")})
    document = json.loads(json.dumps(gitea_push(ref="refs/heads/trunk")).replace(HOST, "github.com"))
    body = json.dumps({**document, "forced": True}).encode()
    github = dialect_of(Headers({"X-GitHub-Event": "push"})).events["push"][1]
    found = decide(github(body), ours)
    enterprise = decide(
        github(body), ours.model_copy(update={"github": GitHubSettings(web_url="https://ghe.example.org")})
    )

    assert isinstance(found, Start)
    assert isinstance(found.source, CommitSource)
    assert (found.source.url, found.source.repository) == (page, "team/shop")
    assert isinstance(enterprise, Start)
    assert isinstance(enterprise.source, CommitSource)
    assert enterprise.source.repository == ""


@pytest.mark.parametrize(
    "document", [gitlab_push(project__git_http_url="x"), gitlab_push(project__git_http_url="/etc"), {}, []]
)
def test_a_strange_body_is_refused(document: object) -> None:
    """With a reason, as everywhere."""
    with pytest.raises(DecodeError, match="push payload: "):
        GITLAB.events["Push Hook"][1](json.dumps(document).encode())


KEY = b"thirty-two bytes of a signing key"
SIGNING = f"whsec_{base64.b64encode(KEY).decode()}"
NOW = 1_795_860_000


def signed(body: bytes, at: str = str(NOW), key: bytes = KEY) -> dict[str, str]:
    """Headers of a delivery that GitLab signed."""
    digest = hmac.new(key, f"id-1.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": "id-1",
        "webhook-timestamp": at,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


@pytest.mark.parametrize(
    ("headers", "secret", "believed"),
    [
        (signed(b"{}"), SIGNING, True),
        (signed(b"{}", str(NOW - 299)), SIGNING, True),
        (signed(b"{}", str(NOW - 301)), SIGNING, False),
        (signed(b"{}", str(NOW + 301)), SIGNING, False),
        (signed(b"{}", "²"), SIGNING, False),
        (signed(b"{}", "9" * 400), SIGNING, False),
        (signed(b"{ }"), SIGNING, False),
        (signed(b"{}", key=b"another"), SIGNING, False),
        ({**signed(b"{}"), "webhook-id": "id-2"}, SIGNING, False),
        ({"x-gitlab-token": SIGNING}, SIGNING, False),
        (signed(b"{}"), "whsec_", False),
        (signed(b"{}"), "whsec_ü", False),
        (signed(b"{}"), SECRET, False),
        ({"x-gitlab-token": SECRET}, SECRET, True),
        ({"x-gitlab-token": SECRET[:-1]}, SECRET, False),
        ({}, SECRET, False),
    ],
)
def test_what_gitlab_proves(headers: dict[str, str], secret: str, believed: bool) -> None:
    """With a signing token, only its signature counts, of this body, id and time."""
    raw = [(name.lower().encode(), value.encode("utf-8")) for name, value in headers.items()]

    assert GITLAB.is_signed(Headers(raw=raw), b"{}", secret, NOW) is believed
