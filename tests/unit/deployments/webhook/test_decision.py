"""What a delivery of GitHub leads to."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import JsonValue

from deployments.webhook.decision import (
    MAX_FILES,
    Approval,
    Ask,
    Cancel,
    Ignore,
    Start,
    are_ignored,
    decide,
    mismatch,
    path_filter,
    request,
)
from deployments.webhook.payload import parse
from kvsync.ci.run.parameters import CommitSource
from kvsync.ci.settings import Settings, WebhookSettings
from kvsync.errors import ConfigError, DecodeError
from tests.payloads.recorded import payload

SETTINGS = WebhookSettings(repositories=("Octo-Org/octo-repo",), actors=("octo-maintainer",))
URL = "https://github.com/octo-org/octo-repo.git"
NAME = "octo-org/octo-repo"
COMMIT = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
FORK_COMMIT = "ec26c3e57ca3a959ca5aad62de7213c562f8c821"


def decided(name: str, **changes: object) -> object:
    """What follows from a changed payload."""
    return decided_by(SETTINGS, name, changes)


def decided_by(settings: WebhookSettings, name: str, changes: Mapping[str, object]) -> object:
    """What follows from it with other settings."""
    event = name.removesuffix("_fork")
    return decide(parse(event, json.dumps(payload(name, **changes)).encode()), Settings(webhook=settings))


def test_a_push_to_a_configured_branch_runs_its_commit() -> None:
    """The parameters that the deployment has are left to it."""
    assert decided("push") == Start(
        deployment="commit",
        asked={"trigger": "push"},
        source=CommitSource(url=URL, commit=COMMIT, repository=NAME, ref="main", author="octo-author"),
        pushed_over="0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c",
    )


def test_a_pull_request_of_a_branch_here_is_trusted_and_supersedes() -> None:
    """Only who may write to the repository can make a branch in it."""
    found = decided("pull_request")

    assert isinstance(found, Start)
    assert found.source == CommitSource(
        url=URL, commit=COMMIT, repository=NAME, ref="forget-pods", pull_request=7, author="octo-author"
    )
    assert (found.deployment, found.supersedes) == ("pull-request", True)
    assert found.tags == ["trigger:pull-request", "pr:octo-org/octo-repo#7"]


@pytest.mark.parametrize("repo", ["fork", None], ids=["fork", "deleted fork"])
def test_a_fork_is_untrusted_and_fetched_from_the_repository_it_asks(repo: str | None) -> None:
    """GitHub has the commits of pull requests in the base repository; no other URL is used."""
    changes = {} if repo else {"pull_request__head__repo": None}
    found = decided("pull_request_fork", **changes)

    assert isinstance(found, Start)
    assert found.source == CommitSource(
        url=URL,
        commit=FORK_COMMIT,
        repository=NAME,
        ref="main",
        pull_request=7,
        trusted=False,
        author="octo-author",
    )


def test_a_merge_queue_gets_the_statuses_of_a_pull_request() -> None:
    """Its commit is run as pull requests are, and judged by the branch that it goes to."""
    found = decided("merge_group")

    commit = "2ffea6db159f6b6c47a24e778fb9ef40cf6b1c7d"
    assert isinstance(found, Start)
    assert (found.deployment, found.asked) == ("pull-request", {"trigger": "merge-queue"})
    assert found.source == CommitSource(
        url=URL,
        commit=commit,
        repository=NAME,
        ref="gh-readonly-queue/main/pr-104-929f8209d40f77f4abc622a499c93a83babdbe64",
        base="main",
    )
    ended = decided("merge_group", action="destroyed")
    assert isinstance(ended, Cancel)
    assert ended.pull_request == found.pull_request == f"{NAME}@{commit}"


@pytest.mark.parametrize(("branch", "base"), [("main", ""), ("release", "release")])
def test_the_base_of_a_pull_request_is_named_where_it_is_not_the_repositorys_own(
    branch: str, base: str
) -> None:
    """Its quarantine gates."""
    found = decided("pull_request", pull_request__base__ref=branch)

    assert isinstance(found, Start)
    assert isinstance(found.source, CommitSource)
    assert found.source.base == base


@pytest.mark.parametrize(
    ("name", "changes", "skips"),
    [
        ("push", {"head_commit": {"message": "Fix [skip ci]"}}, True),
        ("push", {"head_commit": {"message": "Fix\n\n[ci skip]"}}, True),
        ("push", {"head_commit": {"message": "Fix skip ci"}}, False),
        ("pull_request", {"pull_request__title": "Fix [no ci]"}, True),
        ("pull_request", {"pull_request__draft": True}, True),
        ("pull_request", {"action": "ready_for_review"}, False),
    ],
)
def test_drafts_and_skip_ci_are_settings(name: str, changes: dict[str, object], *, skips: bool) -> None:
    """By default neither is heard; `ready_for_review` brings nothing new then."""
    strict = SETTINGS.model_copy(update={"drafts": "skip", "skip_ci": True})

    assert isinstance(decided_by(strict, name, changes), Ignore) is skips
    assert isinstance(decided(name, **changes), Ignore) is (changes.get("action") == "ready_for_review")


@pytest.mark.parametrize(
    ("body", "answered"),
    [
        ("/rerun", True),
        ("Please:\n/re-test\nThanks!", True),
        ("/frobnicate", True),
        ("Please:\n/frobnicate\nThanks!", False),
        ("/lgtm", False),
        ("/usr/bin/env is gone", False),
        ("no command", False),
    ],
)
def test_an_unknown_command_is_answered(body: str, *, answered: bool) -> None:
    """If it is all that a comment says, or close to one of ours."""
    found = decided("issue_comment", comment__body=body)

    assert isinstance(found, Ignore)
    assert (found.answer is not None) is answered


def test_stages_may_be_separated_by_commas() -> None:
    """As a dispatched workflow has them."""
    found = decided("issue_comment", comment__body="/run chaos,e2e")

    assert isinstance(found, Start)
    assert found.asked["stages"] == ["chaos", "e2e"]


def test_a_closed_pull_request_cancels_its_runs() -> None:
    """They are no longer waited for."""
    found = decided("pull_request", action="closed")

    assert isinstance(found, Cancel)
    assert found.pull_request == "octo-org/octo-repo#7"


@pytest.mark.parametrize(
    ("body", "deployment", "asked"),
    [
        ("/retest", "pull-request", {"trigger": "comment"}),
        ("Thanks!\r\n/retest \r\nbye", "pull-request", {"trigger": "comment"}),
        ("/run chaos", "adhoc", {"trigger": "comment", "stages": ["chaos"]}),
        ("/run  e2e\tunit", "adhoc", {"trigger": "comment", "stages": ["e2e", "unit"]}),
    ],
)
def test_a_command_in_a_comment_starts_a_run_of_a_commit_to_be_looked_up(
    body: str, deployment: str, asked: dict[str, object]
) -> None:
    """GitHub does not say in a comment which commit is the head."""
    found = decided("issue_comment", comment__body=body)

    assert isinstance(found, Start)
    assert (found.deployment, found.asked) == (deployment, asked)
    assert found.source == Ask(url=URL, repository=NAME, pull_request=7)
    assert not found.supersedes


@pytest.mark.parametrize(
    ("inputs", "asked"),
    [
        ({"stages": "unit, e2e", "profile": "full"}, {"stages": ["unit", "e2e"], "profile": "full"}),
        ({"stages": "", "other": True}, {}),
        (None, {}),
    ],
)
def test_a_dispatched_workflow_says_stages_and_profile(
    inputs: Mapping[str, object] | None, asked: dict[str, object]
) -> None:
    """What it leaves out is what the deployment says."""
    found = decided("workflow_dispatch", inputs=inputs, ref="refs/tags/v1")

    assert isinstance(found, Start)
    assert found.deployment == "adhoc"
    assert found.asked == {"trigger": "dispatch", **asked}
    assert found.source == Ask(url=URL, repository=NAME, ref="refs/tags/v1")


@pytest.mark.parametrize(
    ("login", "words", "approval"),
    [
        ("octo-maintainer", "", Approval(by="octo-maintainer", is_actor=True)),
        ("octo-guest", "", Approval(by="octo-guest", is_actor=False)),
        ("octo-guest", COMMIT, Approval(by="octo-guest", is_actor=False, commit=COMMIT)),
    ],
)
def test_a_yes_is_written_down_with_who_said_it(login: str, words: str, approval: Approval) -> None:
    """GitHub is asked later about who is not in the settings."""
    user = {"login": login, "type": "User"}
    found = decided("issue_comment", comment__body=f"/ok-to-test {words}", comment__user=user, sender=user)

    assert isinstance(found, Start)
    assert (found.deployment, found.approval, found.supersedes) == ("pull-request", approval, False)
    assert found.source == Ask(url=URL, repository=NAME, pull_request=7)


@pytest.mark.parametrize(
    ("named", "seen", "approves"),
    [
        ("", FORK_COMMIT, True),
        ("", COMMIT, False),
        ("", "", False),
        (FORK_COMMIT, "", True),
        (FORK_COMMIT, COMMIT, True),
        (COMMIT, FORK_COMMIT, False),
    ],
)
def test_a_yes_is_to_the_commit_that_it_names_or_that_was_known(
    named: str, seen: str, approves: bool
) -> None:
    """And never to another head."""
    why = mismatch(Approval(by="octo-guest", is_actor=False, commit=named), FORK_COMMIT, seen)

    assert (why == "") is approves


BOT = {"login": "octo-maintainer", "type": "Bot"}
STRANGER = {"login": "octo-guest", "type": "User"}


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("push", {"ref": "refs/heads/topic"}, "not a branch in webhook.branches"),
        ("push", {"ref": "refs/tags/main"}, "not a branch in webhook.branches"),
        ("push", {"deleted": True, "after": "0" * 40}, "was deleted"),
        ("push", {"after": "--upload-pack=x"}, "commit: "),
        ("push", {"repository__full_name": "octo-guest/octo-repo"}, "not in webhook.repositories"),
        ("push", {"repository__clone_url": "file:///etc"}, "the clone URL does not belong"),
        ("push", {"repository__clone_url": "git@github.com:octo-org/octo-repo.git"}, "the clone URL"),
        ("push", {"repository__clone_url": "https://evil.example/octo-org/octo-repo.git"}, "the clone URL"),
        ("push", {"repository__html_url": "https://u:p@github.com/octo-org/octo-repo"}, "the clone URL"),
        ("pull_request", {"action": "labeled"}, "no new commit"),
        ("pull_request", {"pull_request__head__ref": "x" * 256}, "ref: "),
        ("issue_comment", {"comment__body": "> /retest"}, "not a new command"),
        ("issue_comment", {"comment__body": "/retester"}, "not a new command"),
        ("issue_comment", {"action": "edited"}, "not a new command"),
        ("issue_comment", {"comment__body": "/run MOON"}, "stages: 'MOON': no stage can be called so"),
        ("issue_comment", {"comment__body": "/run"}, "stages: "),
        ("issue_comment", {"issue__pull_request": None}, "open pull requests"),
        ("issue_comment", {"issue__state": "closed"}, "open pull requests"),
        ("issue_comment", {"sender": STRANGER, "comment__user": STRANGER}, "not in webhook.actors"),
        ("issue_comment", {"comment__user": STRANGER}, "not in webhook.actors"),
        ("issue_comment", {"sender": BOT, "comment__user": BOT}, "not in webhook.actors"),
        ("workflow_dispatch", {"inputs": {"profile": "huge"}}, "profile: "),
        ("workflow_dispatch", {"inputs": {"stages": "MOON"}}, "stages: 'MOON': no stage can be called so"),
        ("workflow_dispatch", {"ref": "refs/heads/-x"}, "not a branch or tag"),
        ("workflow_dispatch", {"ref": "refs/heads/" + "x" * 256}, "ref: "),
    ],
)
def test_everything_else_is_ignored_and_the_reason_is_said(
    name: str, changes: dict[str, object], why: str
) -> None:
    """What was not allowed starts nothing."""
    found = decided(name, **changes)

    assert isinstance(found, Ignore)
    assert why in found.reason


def test_a_reason_is_one_short_printable_line() -> None:
    """Branch names reach it, and it reaches a log."""
    found = decided("push", ref="refs/heads/\x1b[31m\nfake log line" + "x" * 1000)

    assert isinstance(found, Ignore)
    assert found.reason.isprintable()
    assert len(found.reason) == 300


def touched(*files: str) -> dict[str, object]:
    """A commit in a push."""
    return {"added": files[:1], "removed": [], "modified": files[1:]}


@pytest.mark.parametrize(
    ("commits", "forced", "runs"),
    [
        ([touched("docs/a/b.txt", "README.md")], False, False),
        ([touched("deep/down/notes.md"), touched("docs/x")], False, False),
        ([touched("README.md"), touched("kvsync/index.py")], False, True),
        ([touched("docs.py")], False, True),
        ([touched("README.md")], True, True),
        ([touched("README.md")] * 20, False, True),
        ([touched()], False, True),
        ([], False, True),
    ],
    ids=["docs", "deep", "code", "looks like docs", "forced", "truncated", "no files", "no commits"],
)
def test_a_push_that_only_touches_ignored_paths_starts_nothing(
    commits: list[object], forced: bool, runs: bool
) -> None:
    """When the payload may not tell every file, the run takes place."""
    assert isinstance(decided("push", commits=commits, forced=forced), Start) is runs


def test_a_path_pattern_that_is_none_is_a_problem_of_the_configuration() -> None:
    """It is found at the start, not at the first push."""
    with pytest.raises(ConfigError, match=r"webhook\.ignored_paths: .*'!'"):
        path_filter(("!",))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "json: push payload: body: Invalid JSON"),
        (b"\xff", "json: push payload"),
        (b"[" * 100_000, "json: push payload"),
        (b"[]", "shape: push payload: body"),
        (b"{}", "shape: push payload: repository: Field required"),
    ],
)
def test_a_body_that_is_no_payload_is_told_apart(body: bytes, text: str) -> None:
    """The sender reads what is wrong, but not its own bytes back."""
    with pytest.raises(DecodeError) as raised:
        parse("push", body)

    assert text in str(raised.value)


def source(*, trusted: bool) -> CommitSource:
    """A commit of a pull request."""
    return CommitSource(url=URL, commit=COMMIT, repository=NAME, pull_request=7, trusted=trusted)


def start(**asked: Any) -> Start:
    """A start by a comment."""
    ask = Ask(url=URL, repository=NAME, pull_request=7)
    return Start(deployment="adhoc", asked={"trigger": "comment", **asked}, source=ask)


DEPLOYED: dict[str, JsonValue] = {
    "stages": ["unit", "e2e", "chaos"],
    "cluster": "kind",
    "reuse": "shared",
    "report_dir": "/reports",
}


def test_what_a_delivery_says_goes_before_what_the_deployment_says() -> None:
    """And nothing that neither says is sent: the flow has its own defaults."""
    sent = request(start(stages=["e2e"]), source(trusted=True), DEPLOYED)

    assert {name: sent[name] for name in sent if name != "source"} == {
        "stages": ["e2e"],
        "cluster": "kind",
        "reuse": "shared",
        "report_dir": "/reports",
        "trigger": "comment",
    }


def test_a_fork_is_confined_whatever_the_deployment_says() -> None:
    """No cluster, and none that somebody shares; which of its stages need one, the flow sees."""
    sent = request(start(), source(trusted=False), DEPLOYED)

    assert (sent["cluster"], sent["reuse"]) == ("local", "")


@pytest.mark.parametrize(
    ("count", "ignored"), [(0, False), (1, True), (MAX_FILES - 1, True), (MAX_FILES, False)]
)
def test_too_many_files_are_not_known_to_be_ignored(count: int, ignored: bool) -> None:
    """GitHub says no more of a pull request; and touching nothing at all is not a reason to stay away."""
    assert are_ignored((f"docs/{number}" for number in range(count)), ("docs/**",)) is ignored
