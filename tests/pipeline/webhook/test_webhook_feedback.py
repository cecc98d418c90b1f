"""What GitHub is told without a run: why a command came to nothing, and that there is nothing to test."""

import asyncio
from collections.abc import Iterator

import pytest
from prefect.client.orchestration import PrefectClient

from kvsync.ci.notify.github_double import FakeGitHub
from tests.payloads.recorded import payload
from tests.pipeline.webhook.conftest import NAME, StartReceiver

pytestmark = pytest.mark.timeout(260)

STRANGER = {"login": "octo-guest", "type": "User"}
BOT = {"login": "octo-maintainer", "type": "Bot"}
MARK = "<!-- kvsync-ci answer -->"


@pytest.fixture
def double() -> Iterator[FakeGitHub]:
    """GitHub, with the repository of the payloads."""
    with FakeGitHub(NAME, token="gh-token") as github:  # noqa: S106 - of the double
        yield github


def commented(double: FakeGitHub, body: str, **changes: object) -> dict[str, object]:
    """The delivery of a comment that is on GitHub."""
    comment = double.comment(NAME, 7, body, author="octo-maintainer")
    return payload("issue_comment", comment__body=body, comment__id=comment, **changes)


@pytest.mark.parametrize(
    ("body", "changes", "said"),
    [
        ("/run", {}, "/run names at least one, such as /run unit"),
        ("/run chaos,MOON", {}, "'MOON': no stage can be called so"),
        ("/retest", {"sender": STRANGER, "comment__user": STRANGER}, "octo-guest is not in webhook.actors"),
        ("/rerun", {}, "/rerun is not a command here; there are /retest, /run, /ok-to-test"),
        ("/ok-to-test now", {}, "stands alone, or with the full hash of a commit"),
    ],
    ids=["bare", "unknown stage", "stranger", "unknown command", "wrong yes"],
)
async def test_a_command_that_comes_to_nothing_is_answered(
    start_receiver: StartReceiver, double: FakeGitHub, body: str, changes: dict[str, object], said: str
) -> None:
    """By a reaction and a comment, though Prefect is away."""
    receiver = await start_receiver(github=double.url)
    delivery, answer = await receiver.deliver("issue_comment", commented(double, body, **changes))
    outcome, _ = await receiver.outcome(delivery)

    assert (answer.status_code, answer.text.partition(":")[0], outcome) == (202, "ignored", "answered")
    asked, told = double.comments
    assert asked.reactions == ("confused",)
    assert (told.author, told.body.startswith(MARK), said in told.body) == ("ci", True, True)


async def test_there_is_one_answer_on_a_pull_request(
    start_receiver: StartReceiver, double: FakeGitHub
) -> None:
    """The newest; each command has its reaction."""
    receiver = await start_receiver(github=double.url)
    for body in ("/run", "/run MOON"):
        delivery, _ = await receiver.deliver("issue_comment", commented(double, body))
        await receiver.outcome(delivery)

    first, told, second = double.comments
    assert (first.reactions, second.reactions, told.edits) == (("confused",), ("confused",), 1)
    assert "'MOON': no stage can be called so" in told.body


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        ("> /run MOON", {}),
        ("```\n/run MOON\n```", {}),
        ("<!-- /run MOON -->", {}),
        ("/lgtm", {}),
        ("/etc/passwd is not readable", {}),
        ("I did this:\n/usr is full\nthen left", {}),
        ("/run MOON", {"action": "edited"}),
        ("/run MOON", {"sender": BOT, "comment__user": BOT}),
        ("/run MOON", {"issue__pull_request": None}),
    ],
)
async def test_what_is_no_command_is_not_answered(
    start_receiver: StartReceiver, double: FakeGitHub, body: str, changes: dict[str, object]
) -> None:
    """Quotes, code, hidden text, paths, other bots' commands, and bots: with them it would never end."""
    receiver = await start_receiver(github=double.url)
    _, answer = await receiver.deliver("issue_comment", commented(double, body, **changes))

    assert answer.text.startswith("ignored: ")
    assert receiver.inbox.outcomes() == {}


async def test_a_pull_request_that_only_changes_documents_can_be_merged(
    pipeline: str, prefect: PrefectClient, start_receiver: StartReceiver, double: FakeGitHub
) -> None:
    """Every status that may be required is there, and no run."""
    commit = payload("pull_request")["pull_request"]["head"]["sha"]
    double.propose(NAME, 7, commit, fork=None)
    double.change(NAME, 7, {"docs/a.md": "", "README.md": ""})
    receiver = await start_receiver(prefect=pipeline, github=double.url)
    delivery, _ = await receiver.deliver("pull_request", payload("pull_request"))
    outcome = await receiver.outcome(delivery)

    assert outcome == ("ignored: it touches nothing but webhook.ignored_paths", "None")
    assert double.states(commit) == {
        "kvsync-ci": "success",
        "kvsync-ci/unit": "success",
        "kvsync-ci/e2e": "success",
    }
    assert {each.description for each in double.statuses} == {"skipped: only documents changed"}


async def test_a_command_that_is_refused_later_is_answered(
    pipeline: str, start_receiver: StartReceiver, double: FakeGitHub
) -> None:
    """What is wrong with it is only known when GitHub was asked for the commit."""
    double.propose(NAME, 7, "a" * 40, fork=None, state="closed")
    receiver = await start_receiver(prefect=pipeline, github=double.url, forks="confined")
    delivery, _ = await receiver.deliver("issue_comment", commented(double, "/run chaos"))
    outcome, _ = await asyncio.wait_for(receiver.outcome(delivery), 30)

    assert "is no longer open" in outcome
    asked, told = double.comments
    assert (asked.reactions, "is no longer open" in told.body) == (("confused",), True)
