"""Accepted deliveries become flow runs at a real Prefect server, one each."""

import asyncio
import sqlite3
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun
from prefect.states import Running

from kvsync.ci.notify.github_double import FakeGitHub
from tests.payloads.recorded import payload
from tests.pipeline.webhook.conftest import NAME, Deploy, GitHub, StartReceiver

pytestmark = pytest.mark.timeout(260)

COMMIT = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
OTHER = "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"
FORK_COMMIT = "ec26c3e57ca3a959ca5aad62de7213c562f8c821"


async def state_of(prefect: PrefectClient, flow_run: str) -> str:
    """The name of a flow run's state."""
    return str((await prefect.read_flow_run(UUID(flow_run))).state_name)


async def runs_of(prefect: PrefectClient, delivery: str) -> list[FlowRun]:
    """Every flow run of a delivery."""
    key = FlowRunFilterIdempotencyKey(any_=[f"github-{delivery}"])
    return await prefect.read_flow_runs(flow_run_filter=FlowRunFilter(idempotency_key=key))


def commit(number: int, sha: str, minute: int) -> dict[str, object]:
    """A pull request that got a commit at a time."""
    at = f"2026-11-20T10:{minute:02}:00Z"
    return payload(
        "pull_request",
        action="synchronize",
        number=number,
        pull_request__head__sha=sha,
        pull_request__updated_at=at,
    )


@pytest.fixture
def number() -> int:
    """A pull request that no other test has."""
    return uuid4().int % 10**9 + 1


async def test_a_push_is_a_run_of_its_commit(
    pipeline: str, prefect: PrefectClient, start_receiver: StartReceiver
) -> None:
    """With the parameters of the deployment, and tags by which people find it."""
    receiver = await start_receiver(prefect=pipeline)
    delivery, _ = await receiver.deliver("push", payload("push"))
    outcome, flow_run = await receiver.outcome(delivery)
    (run,) = await runs_of(prefect, delivery)

    assert (outcome, flow_run) == ("started", str(run.id))
    assert run.tags == ["trigger:push"]
    assert run.parameters["parameters"] == {
        "stages": ["unit", "e2e"],
        "profile": "full",
        "trigger": "push",
        "source": {
            "url": "https://github.com/octo-org/octo-repo.git",
            "commit": COMMIT,
            "repository": "octo-org/octo-repo",
            "ref": "main",
            "pull_request": None,
            "trusted": True,
            "author": "octo-author",
        },
    }


async def test_killed_between_the_flow_run_and_the_inbox_there_is_still_one_run(
    pipeline: str, prefect: PrefectClient, start_receiver: StartReceiver, tmp_path: Path
) -> None:
    """What was not marked is created once more with the same key, which gives the same run."""
    first = await start_receiver(prefect=pipeline)
    delivery, _ = await first.deliver("push", payload("push"))
    before = await first.outcome(delivery)
    with sqlite3.connect(tmp_path / "inbox.db") as database:
        database.execute("UPDATE deliveries SET outcome = NULL, flow_run = NULL")
    database.close()
    second = await start_receiver(prefect=pipeline)

    assert await second.outcome(delivery) == before
    assert len(await runs_of(prefect, delivery)) == 1


async def test_a_newer_commit_cancels_the_older_runs_of_its_pull_request(
    pipeline: str, prefect: PrefectClient, start_receiver: StartReceiver, number: int
) -> None:
    """One that runs is told to stop, one that waits is cancelled, and others' runs go on."""
    receiver = await start_receiver(prefect=pipeline)
    runs = []
    for each, sha, minute in ((number, COMMIT, 1), (number + 1, COMMIT, 1)):
        delivery, _ = await receiver.deliver("pull_request", commit(each, sha, minute))
        runs.append((await receiver.outcome(delivery))[1])
    await prefect.set_flow_run_state(UUID(runs[0]), Running(), force=True)
    for sha, minute in ((OTHER, 2), (FORK_COMMIT, 3)):
        delivery, _ = await receiver.deliver("pull_request", commit(number, sha, minute))
        runs.append((await receiver.outcome(delivery))[1])

    states = [await state_of(prefect, run) for run in runs]
    assert states == ["Cancelling", "Scheduled", "Cancelled", "Scheduled"]


async def test_runs_of_the_same_commit_go_on(
    pipeline: str, prefect: PrefectClient, start_receiver: StartReceiver, github: GitHub, number: int
) -> None:
    """Only another commit makes them worthless; a command in a comment cancels nothing."""
    github.answers[f"pulls/{number}"] = (200, head("octo-org/octo-repo"))
    receiver = await start_receiver(prefect=pipeline, github=github.address)
    comment = payload("issue_comment", issue__number=number, comment__created_at="2026-11-20T10:02:00Z")
    deliveries = [
        await receiver.deliver("pull_request", commit(number, COMMIT, 1)),
        await receiver.deliver("issue_comment", comment),
        await receiver.deliver("pull_request", commit(number, COMMIT, 3) | {"action": "reopened"}),
    ]
    outcomes = [await receiver.outcome(delivery) for delivery, _ in deliveries]
    started = [run for outcome, run in outcomes if outcome == "started"]

    assert [await state_of(prefect, run) for run in started[-2:]] == ["Scheduled", "Scheduled"]


async def test_a_late_commit_leaves_the_run_of_a_newer_comment_alone(
    pipeline: str, prefect: PrefectClient, start_receiver: StartReceiver, github: GitHub, number: int
) -> None:
    """What was asked for after it is about a newer commit."""
    github.answers[f"pulls/{number}"] = (200, head("octo-org/octo-repo", sha=OTHER))
    receiver = await start_receiver(prefect=pipeline, github=github.address)
    comment = payload("issue_comment", issue__number=number, comment__created_at="2026-11-20T10:09:00Z")
    asked, _ = await receiver.deliver("issue_comment", comment)
    _, run = await receiver.outcome(asked)
    late, _ = await receiver.deliver("pull_request", commit(number, COMMIT, 1))

    assert (await receiver.outcome(late))[0] == "started"
    assert await state_of(prefect, run) == "Scheduled"


async def test_a_late_delivery_of_an_older_commit_starts_nothing(
    pipeline: str, prefect: PrefectClient, start_receiver: StartReceiver, number: int
) -> None:
    """GitHub's time says which commit is newer, not the order of arrival."""
    receiver = await start_receiver(prefect=pipeline)
    newer, _ = await receiver.deliver("pull_request", commit(number, OTHER, 5))
    _, flow_run = await receiver.outcome(newer)
    older, _ = await receiver.deliver("pull_request", commit(number, COMMIT, 4))

    assert await receiver.outcome(older) == ("superseded", "None")
    assert await state_of(prefect, flow_run) == "Scheduled"
    assert await runs_of(prefect, older) == []


async def test_a_closed_pull_request_needs_no_runs(
    pipeline: str, prefect: PrefectClient, start_receiver: StartReceiver, number: int
) -> None:
    """Reopened, it gets a new one."""
    receiver = await start_receiver(prefect=pipeline)
    opened, _ = await receiver.deliver("pull_request", commit(number, COMMIT, 1))
    _, first = await receiver.outcome(opened)
    closed, _ = await receiver.deliver("pull_request", commit(number, COMMIT, 2) | {"action": "closed"})
    assert await receiver.outcome(closed) == ("cancelled", "None")
    reopened, _ = await receiver.deliver("pull_request", commit(number, COMMIT, 3) | {"action": "reopened"})
    _, second = await receiver.outcome(reopened)

    assert [await state_of(prefect, run) for run in (first, second)] == ["Cancelled", "Scheduled"]


async def test_a_pull_request_that_touches_ignored_paths_only_starts_nothing(
    pipeline: str, prefect: PrefectClient, start_receiver: StartReceiver, github: GitHub, number: int
) -> None:
    """Nor does its older run go on, which was of a commit that touched more."""
    receiver = await start_receiver(prefect=pipeline, github=github.address)
    github.answers[f"pulls/{number}/files"] = (200, [{"filename": "README.md"}, {"filename": "kvsync/a.py"}])
    code, _ = await receiver.deliver("pull_request", commit(number, COMMIT, 1))
    outcome, older = await receiver.outcome(code)
    assert outcome == "started"
    github.answers[f"pulls/{number}/files"] = (200, [{"filename": "README.md"}, {"filename": "docs/a.py"}])
    docs, _ = await receiver.deliver("pull_request", commit(number, OTHER, 2))

    assert await receiver.outcome(docs) == ("ignored: it touches nothing but webhook.ignored_paths", "None")
    assert await runs_of(prefect, docs) == []
    assert await state_of(prefect, older) == "Cancelled"


def head(repository: str | None, sha: str = COMMIT, state: str = "open") -> dict[str, object]:
    """What GitHub says of a pull request."""
    repo = repository and {"full_name": repository}
    return {"number": 7, "state": state, "head": {"sha": sha, "ref": "topic", "repo": repo}}


@pytest.mark.parametrize(
    ("repository", "trusted"),
    [("octo-org/octo-repo", True), ("octo-guest/octo-repo", False), (None, False)],
    ids=["branch", "fork", "deleted fork"],
)
async def test_a_commented_pull_request_is_run_at_its_head(
    pipeline: str,
    prefect: PrefectClient,
    start_receiver: StartReceiver,
    github: GitHub,
    repository: str | None,
    trusted: bool,
) -> None:
    """GitHub is asked for the head after the answer; a fork stays a fork, no matter who commented."""
    github.answers["pulls/7"] = (200, head(repository))
    receiver = await start_receiver(prefect=pipeline, github=github.address, forks="confined")
    delivery, _ = await receiver.deliver("issue_comment", payload("issue_comment", comment__body="/retest"))
    await receiver.outcome(delivery)
    (run,) = await runs_of(prefect, delivery)
    parameters = run.parameters["parameters"]

    assert github.asked == [("pulls/7", "token gh-token")]
    assert parameters["source"]["commit"] == COMMIT
    assert parameters["source"]["trusted"] is trusted


async def test_a_fork_is_run_once_it_has_a_yes_and_its_next_commit_waits_again(
    pipeline: str, prefect: PrefectClient, start_receiver: StartReceiver, number: int
) -> None:
    """The older run, which had its yes, ends. GitHub shows both commits as waiting, in one comment."""
    with FakeGitHub(NAME, token="gh-token") as github:  # noqa: S106 - of the double
        receiver = await start_receiver(prefect=pipeline, github=github.url)

        async def take(event: str, document: object) -> tuple[str, str]:
            delivery, _ = await receiver.deliver(event, document)
            return await receiver.outcome(delivery)

        def pushed(sha: str, minute: int) -> dict[str, object]:
            github.propose(NAME, number, sha, fork="octo-guest/octo-repo")
            at = f"2026-11-20T10:{minute:02}:00Z"
            changes = {"pull_request__head__sha": sha, "pull_request__updated_at": at}
            return payload("pull_request_fork", number=number, **changes)

        def commented(minute: int) -> dict[str, object]:
            at = f"2026-11-20T10:{minute:02}:00Z"
            changes = {"issue__number": number, "comment__created_at": at, "comment__body": "/ok-to-test"}
            return payload("issue_comment", **changes)

        waiting = await take("pull_request", pushed(COMMIT, 1))
        outcome, flow_run = await take("issue_comment", commented(2))
        (run,) = await prefect.read_flow_runs(flow_run_filter=tagged(number))
        again = [await take("issue_comment", commented(3)), await take("pull_request", pushed(OTHER, 4))]
        ended = await state_of(prefect, flow_run)
        (comment,) = github.comments

    assert waiting == ("held: waiting for /ok-to-test", "None")
    assert (outcome, flow_run) == ("started", str(run.id))
    parameters = run.parameters["parameters"]
    assert (parameters["source"]["commit"], parameters["source"]["trusted"]) == (COMMIT, False)
    assert parameters["cluster"] == "local"
    assert again == [("ignored: it was approved before", "None"), waiting]
    assert ended == "Cancelled"
    assert [(each.commit, each.description) for each in github.statuses] == [
        (COMMIT, "waiting for /ok-to-test"),
        (COMMIT, "approved by octo-maintainer"),
        (OTHER, "waiting for /ok-to-test"),
    ]
    assert OTHER in comment.body


def tagged(number: int) -> FlowRunFilter:
    """The flow runs of a pull request."""
    return FlowRunFilter(tags=FlowRunFilterTags(all_=[f"pr:{NAME}#{number}"]))


async def test_a_dispatched_workflow_runs_the_head_of_its_ref(
    pipeline: str, prefect: PrefectClient, start_receiver: StartReceiver, github: GitHub
) -> None:
    """With the stages and the profile that were given."""
    github.answers["commits/heads%2Fmain"] = (200, {"sha": OTHER})
    receiver = await start_receiver(prefect=pipeline, github=github.address)
    delivery, _ = await receiver.deliver("workflow_dispatch", payload("workflow_dispatch"))
    await receiver.outcome(delivery)
    (run,) = await runs_of(prefect, delivery)
    parameters = run.parameters["parameters"]

    assert (parameters["source"]["commit"], parameters["source"]["ref"]) == (OTHER, "main")
    assert (parameters["stages"], parameters["profile"]) == (["unit", "e2e"], "full")


@pytest.mark.parametrize(
    ("answer", "body", "why"),
    [
        ((404, {"message": "Not Found"}), "/retest", "GitHub answered 404"),
        ((200, head("octo-org/octo-repo", state="closed")), "/retest", "no longer open"),
        ((200, head("octo-org/octo-repo", sha="--force")), "/retest", "not fit for a run"),
    ],
    ids=["gone", "closed", "no hash"],
)
async def test_what_can_never_be_started_is_refused(
    pipeline: str,
    prefect: PrefectClient,
    start_receiver: StartReceiver,
    github: GitHub,
    answer: tuple[int, object],
    body: str,
    why: str,
) -> None:
    """It does not wait for ever, and the inbox says why."""
    github.answers["pulls/7"] = answer
    receiver = await start_receiver(prefect=pipeline, github=github.address, forks="confined")
    delivery, _ = await receiver.deliver("issue_comment", payload("issue_comment", comment__body=body))
    outcome, _ = await receiver.outcome(delivery)

    assert outcome.startswith("refused: ")
    assert why in outcome
    assert await runs_of(prefect, delivery) == []


async def test_what_is_missing_for_one_delivery_holds_up_no_other(
    pipeline: str, prefect: PrefectClient, start_receiver: StartReceiver, github: GitHub, deploy: Deploy
) -> None:
    """And it is started as soon as it can be: a deployment that is not there yet, a GitHub that is away."""
    found = await prefect.read_deployment_by_name("pipeline/adhoc")
    await prefect.delete_deployment(found.id)
    github.answers |= {"pulls/7": (502, {}), "commits/heads%2Fmain": (200, {"sha": OTHER})}
    receiver = await start_receiver(prefect=pipeline, github=github.address)
    comment, _ = await receiver.deliver("issue_comment", payload("issue_comment", comment__body="/retest"))
    dispatch, _ = await receiver.deliver("workflow_dispatch", payload("workflow_dispatch"))
    push, _ = await receiver.deliver("push", payload("push"))

    assert (await receiver.outcome(push))[0] == "started"
    assert receiver.inbox.depth()[0] == 2
    github.answers["pulls/7"] = (200, head("octo-org/octo-repo"))
    await deploy("adhoc")
    outcomes = await asyncio.gather(receiver.outcome(comment), receiver.outcome(dispatch))
    assert [outcome for outcome, _ in outcomes] == ["started", "started"]


async def test_what_was_accepted_while_prefect_was_away_is_started_when_it_is_back(
    pipeline: str, prefect: PrefectClient, start_receiver: StartReceiver, number: int
) -> None:
    """In order; of several commits of a pull request only the last."""
    away = await start_receiver()
    push, _ = await away.deliver("push", payload("push"))
    first, _ = await away.deliver("pull_request", commit(number, COMMIT, 1))
    last, _ = await away.deliver("pull_request", commit(number, OTHER, 2))
    assert [answer for answer, _ in away.inbox.outcomes().values()] == [None, None, None]
    back = await start_receiver(prefect=pipeline)

    outcomes = [(await back.outcome(each))[0] for each in (push, first, last)]
    assert outcomes == ["started", "superseded", "started"]
