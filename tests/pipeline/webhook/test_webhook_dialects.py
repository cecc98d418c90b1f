"""Deliveries of Gitea, Forgejo and GitLab, over HTTP."""

import asyncio
import json
import logging
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from pydantic import SecretStr

from kvsync.ci.settings import RepositorySettings
from tests.payloads.forges import (
    ANN,
    COMMIT,
    FORK_COMMIT,
    GUEST,
    HOST,
    Document,
    gitea_headers,
    gitea_pull_request,
    gitea_push,
    gitlab_headers,
    gitlab_merge_request,
    gitlab_note,
    gitlab_push,
)
from tests.pipeline.webhook.conftest import SECRET, Receiver, StartReceiver

URL = f"https://{HOST}/team/shop.git"
SHOP = {"shop": RepositorySettings(url=URL, actors=(ANN,))}


async def by_gitea(
    receiver: Receiver, event: str, document: Document, delivery: str = "", *, family: str = "Gitea"
) -> httpx.Response:
    """Send a delivery as Gitea does, or Forgejo."""
    body = json.dumps(document).encode()
    headers = gitea_headers(event, body, delivery or str(uuid4()), SECRET, family)
    return await receiver.client.post("/webhook", content=body, headers=headers)


async def by_gitlab(
    receiver: Receiver, event: str, document: Document, delivery: str = "", **changes: str
) -> httpx.Response:
    """Send a delivery as GitLab does, with other headers."""
    headers = gitlab_headers(event, delivery or str(uuid4()), SECRET) | changes
    return await receiver.client.post("/webhook", json=document, headers=headers)


@pytest.fixture
async def receiver(start_receiver: StartReceiver) -> Receiver:
    """A receiver for one repository on another server than GitHub's, with small limits."""
    return await start_receiver(shop=SHOP, body_limit=20_000, rate_per_minute=600)


@pytest.mark.parametrize("family", ["Gitea", "Forgejo"])
async def test_gitea_and_forgejo_are_understood(receiver: Receiver, family: str) -> None:
    """Each delivery once, at the address for all servers, and at GitHub's."""
    first = await by_gitea(receiver, "push", gitea_push(), "id-1", family=family)
    again = await by_gitea(receiver, "push", gitea_push(), "id-1", family=family)
    other = await by_gitea(receiver, "issues", {}, family=family)

    assert (first.status_code, first.text) == (202, "accepted")
    assert (again.status_code, again.text) == (200, "repeated: already accepted")
    assert (other.status_code, other.text) == (202, "ignored: this event starts nothing")
    assert list(receiver.inbox.outcomes()) == ["gitea-id-1"]


async def test_gitlab_is_understood(receiver: Receiver) -> None:
    """A retry has the key of the first attempt, and an id of its own."""
    first = await by_gitlab(receiver, "Push Hook", gitlab_push(), "id-1")
    again = await by_gitlab(
        receiver, "Push Hook", gitlab_push(), "id-1", **{"X-Gitlab-Webhook-UUID": str(uuid4())}
    )
    other = await by_gitlab(receiver, "Confidential Note Hook", gitlab_note("/retest"))

    assert (first.status_code, again.status_code, other.text) == (
        202,
        200,
        "ignored: this event starts nothing",
    )
    assert list(receiver.inbox.outcomes()) == ["gitlab-id-1"]


BODY = json.dumps(gitea_push()).encode()
GITEA = gitea_headers("push", BODY, "1", SECRET, "Forgejo")
GITLAB = gitlab_headers("Push Hook", "1", SECRET)
WITHOUT_ID = dict.fromkeys(("Idempotency-Key", "X-Gitlab-Webhook-UUID"))


@pytest.mark.parametrize(
    ("given", "changes", "status", "text"),
    [
        (GITEA, {"X-Forgejo-Signature": "0" * 64}, 401, "X-Forgejo-Signature"),
        (GITEA, {"X-Forgejo-Signature": GITEA["X-Hub-Signature-256"]}, 401, "X-Forgejo-Signature"),
        (GITEA, {"X-Forgejo-Signature": None, "X-Gitea-Signature": None}, 401, "X-Gitea-Signature"),
        (GITEA, {"X-Forgejo-Signature": None, "X-Gitea-Signature": ""}, 401, "X-Gitea-Signature"),
        (GITEA, {"X-Forgejo-Delivery": "../x"}, 400, "X-Forgejo-Delivery"),
        (GITEA, {"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json"),
        (GITLAB, {"X-Gitlab-Token": "guessed"}, 401, "X-Gitlab-Token"),
        (GITLAB, {"X-Gitlab-Token": ""}, 401, "X-Gitlab-Token"),
        (GITLAB, {"X-Gitlab-Token": None}, 401, "X-Gitlab-Token"),
        (GITLAB, {"X-Gitlab-Token": None, **GITEA, "X-Gitlab-Event": "Push Hook"}, 401, "X-Gitlab-Token"),
        (GITLAB, WITHOUT_ID, 400, "Idempotency-Key"),
        (GITLAB, {"Content-Type": "text/plain"}, 415, "application/json"),
    ],
)
async def test_what_is_not_to_be_believed_is_turned_away(
    receiver: Receiver, given: dict[str, str], changes: dict[str, str | None], status: int, text: str
) -> None:
    """The proof of one kind of server is none for another."""
    headers = {name: value for name, value in {**given, **changes}.items() if value is not None}
    answer = await receiver.client.post("/webhook", content=BODY, headers=headers)

    assert (answer.status_code, text in answer.text) == (status, True)
    assert receiver.inbox.outcomes() == {}


@pytest.mark.parametrize("header", ["X-Gitlab-Token", "X-Gitea-Signature"])
async def test_two_proofs_are_none(receiver: Receiver, header: str) -> None:
    """A wrong one cannot be hidden behind a right one."""
    right = GITLAB if "lab" in header else gitea_headers("push", BODY, "1", SECRET)
    answer = await receiver.client.post("/webhook", content=BODY, headers=[*right.items(), (header, "0")])

    assert answer.status_code == 401


async def test_the_limits_hold_for_all(start_receiver: StartReceiver) -> None:
    """Size, and how many come from an address: with a wrong proof, and with the right one."""
    receiver = await start_receiver(shop=SHOP, body_limit=20_000, rate_per_minute=3, clock=lambda: 0.0)
    large = await receiver.client.post("/webhook", content=b"x" * 20_001, headers=GITLAB)
    wrong = [await by_gitlab(receiver, "Push Hook", {}, **{"X-Gitlab-Token": "x"}) for _ in range(4)]
    right = [await by_gitlab(receiver, "Push Hook", gitlab_push(before=f"{n:040x}")) for n in range(4)]

    assert large.status_code == 413
    assert [answer.status_code for answer in wrong] == [401] * 3 + [429]
    assert [answer.status_code for answer in right] == [202] * 3 + [429]


async def test_a_secret_token_is_in_no_log(
    start_receiver: StartReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the right one, nor one that somebody mistyped; nor is a signature."""
    caplog.set_level(logging.DEBUG)
    receiver = await start_receiver(shop=SHOP, secret=SecretStr("planted-secret"))
    for token in ("planted-secret", "planted-guess"):
        await by_gitlab(receiver, "Push Hook", gitlab_push(), **{"X-Gitlab-Token": token})

    ours = [each.getMessage() for each in caplog.records if each.name.startswith("deployments")]
    assert any("accepted" in each for each in ours)
    assert "planted" not in "".join(ours)


async def runs_of(prefect: PrefectClient, receiver: Receiver) -> list[dict[str, Any]]:
    """The parameters of the runs of all deliveries, in their order, once these are finished."""
    found = [await receiver.outcome(delivery) for delivery in receiver.inbox.outcomes()]
    runs = [await prefect.read_flow_run(UUID(run)) for outcome, run in found if outcome == "started"]
    return [run.parameters["parameters"] for run in runs]


async def test_what_they_send_becomes_runs(
    start_receiver: StartReceiver, pipeline: str, prefect: PrefectClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Of pushes and pull requests at once, of a fork after a yes. GitHub is away here, and never asked."""
    caplog.set_level(logging.INFO)
    receiver = await start_receiver(prefect=pipeline, shop=SHOP)
    fork = {"object_attributes__updated_at": "2026-11-20 10:01:00 UTC"}
    answers = [
        await by_gitlab(receiver, "Push Hook", gitlab_push()),
        await by_gitea(receiver, "pull_request", gitea_pull_request(number=8)),
        await by_gitlab(
            receiver, "Merge Request Hook", gitlab_merge_request("guest/shop", FORK_COMMIT, **fork)
        ),
        await by_gitlab(receiver, "Note Hook", gitlab_note("/ok-to-test", "guest/shop", FORK_COMMIT)),
    ]
    runs = await runs_of(prefect, receiver)
    sources = [run["source"] for run in runs]

    assert [answer.text for answer in answers] == ["accepted"] * 4
    assert [outcome for outcome, _ in receiver.inbox.outcomes().values()] == [
        "started",
        "started",
        "held: waiting for /ok-to-test",
        "started",
    ]
    assert [source["commit"] for source in sources] == [COMMIT, COMMIT, FORK_COMMIT]
    assert {(source["url"], source["repository"]) for source in sources} == {(URL, "")}
    assert [source["trusted"] for source in sources] == [True, True, False]
    assert (runs[0]["follows"], runs[2]["cluster"]) == ("shop", "local")
    assert "only GitHub is told" in caplog.text
    assert GUEST not in "".join(source.get("author", "") for source in sources)


async def test_many_at_once_are_each_accepted(receiver: Receiver) -> None:
    """Of all kinds, and each is written down."""
    given = [by_gitlab(receiver, "Push Hook", gitlab_push(before=f"{n:040x}")) for n in range(10)]
    given += [by_gitea(receiver, "push", gitea_push(before=f"{n:040x}")) for n in range(10, 20)]

    assert {answer.status_code for answer in await asyncio.gather(*given)} == {202}
    assert len(receiver.inbox.outcomes()) == 20
