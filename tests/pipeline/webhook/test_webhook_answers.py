"""What senders are told, while Prefect and GitHub are away."""

import asyncio
import socket
import time
from uuid import uuid4

import pytest
from pydantic import SecretStr

from deployments.webhook.absence import Absence
from deployments.webhook.app import create_app
from deployments.webhook.heads import Heads
from deployments.webhook.hooks import Hooks
from deployments.webhook.inbox import Inbox
from kvsync.ci.notify.github_double import FakeGitHub
from kvsync.ci.settings import GitHubSettings, Settings, WebhookSettings
from kvsync.errors import ConfigError
from tests.payloads.recorded import payload
from tests.pipeline.webhook.conftest import NAME, SECRET, Receiver, StartReceiver, headers, until


@pytest.fixture
async def receiver(start_receiver: StartReceiver) -> Receiver:
    """A receiver with small limits, so that they are easy to reach."""
    return await start_receiver(body_limit=20_000, rate_per_minute=600)


async def test_a_delivery_is_accepted_at_once_and_only_once(receiver: Receiver) -> None:
    """Written down before the answer; sent again, also at the same time, it is known."""
    delivery, answer = await receiver.deliver("push", payload("push"))
    again = await asyncio.gather(*(receiver.deliver("push", payload("push"), delivery) for _ in range(5)))

    assert (answer.status_code, answer.text) == (202, "accepted")
    assert {(each.status_code, each.text) for _, each in again} == {(200, "repeated: already accepted")}
    assert list(receiver.inbox.outcomes()) == [delivery]


async def test_a_push_of_which_two_webhooks_tell_is_one_run(receiver: Receiver) -> None:
    """Such as one of the repository and one of its organization: each delivery has an id of its own."""
    deliveries = [await receiver.deliver("push", payload("push")) for _ in range(3)]

    assert [answer.text for _, answer in deliveries] == ["accepted", *["repeated: already accepted"] * 2]
    assert list(receiver.inbox.outcomes()) == [deliveries[0][0]]


async def test_the_answer_does_not_wait_for_prefect(start_receiver: StartReceiver) -> None:
    """A Prefect that takes connections and says nothing: still, every delivery is accepted meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        receiver = await start_receiver(prefect=f"http://127.0.0.1:{silent.getsockname()[1]}/api")
        answers = [await receiver.deliver("push", payload("push", before=letter * 40)) for letter in "abcde"]

        assert [answer.status_code for _, answer in answers] == [202] * 5
        assert len(receiver.inbox.waiting()) == 5


async def test_a_restarted_receiver_knows_what_was_accepted(
    receiver: Receiver, start_receiver: StartReceiver
) -> None:
    """GitHub's button for sending again may be pressed days later."""
    delivery, _ = await receiver.deliver("push", payload("push"))
    _, answer = await (await start_receiver()).deliver("push", payload("push"), delivery)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("event", "document", "status", "text"),
    [
        ("ping", {}, 200, "pong"),
        ("star", {}, 202, "ignored: this event starts nothing"),
        ("push", payload("push", ref="refs/heads/x"), 202, "ignored: refs/heads/x is not a branch in"),
        ("push", {}, 400, "shape: push payload: repository: Field required"),
    ],
)
async def test_what_starts_nothing_is_answered_with_the_reason(
    receiver: Receiver, event: str, document: object, status: int, text: str
) -> None:
    """People read it in GitHub's list of deliveries; nothing is written down."""
    _, answer = await receiver.deliver(event, document)

    assert answer.status_code == status
    assert answer.text.startswith(text)
    assert receiver.inbox.outcomes() == {}


BODY = b'{"a": 1}'
GOOD = headers("push", BODY, "72d3162e-cc78-11e3-81ab-4c9367dc0958")
SIGNATURE = GOOD["X-Hub-Signature-256"]


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"X-Hub-Signature-256": None}, 401, "X-Hub-Signature-256"),
        ({"X-Hub-Signature-256": SIGNATURE[:-1]}, 401, "X-Hub-Signature-256"),
        ({"X-Hub-Signature-256": SIGNATURE.upper()}, 401, "X-Hub-Signature-256"),
        ({"X-Hub-Signature-256": SIGNATURE.removeprefix("sha256=")}, 401, "X-Hub-Signature-256"),
        ({"X-Hub-Signature-256": "sha256=é".encode()}, 401, "X-Hub-Signature-256"),
        ({"X-Hub-Signature-256": "sha256=" + "0" * 64}, 401, "X-Hub-Signature-256"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json"),
        ({"Content-Type": None}, 415, "application/json"),
        ({"X-GitHub-Delivery": None}, 400, "X-GitHub-Delivery"),
        ({"X-GitHub-Delivery": "../../etc"}, 400, "X-GitHub-Delivery"),
        ({"X-GitHub-Delivery": "x" * 65}, 400, "X-GitHub-Delivery"),
    ],
)
async def test_what_is_not_to_be_believed_is_turned_away(
    receiver: Receiver, changes: dict[str, str | bytes | None], status: int, text: str
) -> None:
    """A missing header and a wrong one alike."""
    given = {**GOOD, **changes}
    sent = [(name.encode(), _bytes(value)) for name, value in given.items() if value is not None]
    answer = await receiver.client.post("/github", content=BODY, headers=sent)

    assert (answer.status_code, text in answer.text) == (status, True)
    assert receiver.inbox.outcomes() == {}


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


async def test_two_signatures_are_none(receiver: Receiver) -> None:
    """A wrong one cannot be hidden behind a right one."""
    sent = [*GOOD.items(), ("X-Hub-Signature-256", "sha256=0")]

    assert (await receiver.client.post("/github", content=BODY, headers=sent)).status_code == 401


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 20001\r\n\r\n",
        b"Content-Length: 99999999999999999\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n",
    ],
    ids=["announced", "absurd", "chunked"],
)
async def test_a_body_that_is_too_large_is_not_read_to_its_end(receiver: Receiver, framing: bytes) -> None:
    """The answer comes while the body is still being sent, and the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    chunks = framing.count(b"x" * 4096) * 5
    writer.write(b"POST /github HTTP/1.1\r\nHost: ci\r\n" + framing)
    for _ in range(chunks):
        writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"more than 20000 bytes" in answer


@pytest.mark.parametrize("sent", [b"", b'{"a"'], ids=["nothing", "half"])
async def test_a_body_that_ends_early_is_no_delivery(receiver: Receiver, sent: bytes) -> None:
    """Content-Length promised more: the signature is not even looked at, and the receiver goes on."""
    _, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    lines = [f"{name}: {value}" for name, value in GOOD.items()]
    head = ["POST /github HTTP/1.1", "Host: ci", "Content-Length: 8", *lines, "", ""]
    writer.write("\r\n".join(head).encode() + sent)
    writer.close()

    async def counted() -> bool:
        return 'rejected_total{reason="disconnect"} 1.0' in (await receiver.client.get("/metrics")).text

    await until(counted)
    assert (await receiver.deliver("ping", {}))[1].status_code == 200


async def test_an_address_that_asks_too_often_is_told_when_to_come_back(
    start_receiver: StartReceiver,
) -> None:
    """Also one that knows the secret."""
    receiver = await start_receiver(rate_per_minute=2)
    answers = [(await receiver.deliver("ping", {}))[1] for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 0 < int(answers[2].headers["retry-after"]) <= 30


async def test_who_has_no_secret_keeps_nobody_else_from_delivering(start_receiver: StartReceiver) -> None:
    """Behind a proxy all have one address: what is not signed is counted by itself."""
    receiver = await start_receiver(rate_per_minute=2)
    forged = {**GOOD, "X-Hub-Signature-256": "sha256=" + "0" * 64}
    turned_away = [await receiver.client.post("/github", content=BODY, headers=forged) for _ in range(3)]

    assert [answer.status_code for answer in turned_away] == [401, 401, 429]
    assert (await receiver.deliver("ping", {}))[1].status_code == 200


async def test_an_inbox_that_takes_nothing_is_no_acceptance(receiver: Receiver) -> None:
    """A full disk looks the same: the sender learns that it has to send again."""
    receiver.inbox.close()
    _, answer = await receiver.deliver("push", payload("push"))

    assert answer.status_code == 503
    assert "send it again" in answer.text


async def test_what_was_missed_is_started_once(start_receiver: StartReceiver) -> None:
    """The second receiver finds it at its start; the delivery that comes all the same is known."""
    document = payload("pull_request", pull_request__updated_at="2100-01-01T00:00:00Z")
    commit = document["pull_request"]["head"]["sha"]
    with FakeGitHub(NAME, token="gh-token") as github:  # noqa: S106 - of the double
        first = await start_receiver(github=github.url)

        async def is_present() -> bool:
            return first.inbox.present_until() is not None

        await until(is_present)
        github.propose(NAME, 7, commit, fork=NAME, at="2100-01-01T00:00:00Z")
        second = await start_receiver(github=github.url)

        async def is_found() -> bool:
            return len(second.inbox.waiting()) == 1

        await until(is_found)
        _, answer = await second.deliver("pull_request", document)

    assert (answer.status_code, answer.text) == (200, "repeated: already accepted")
    assert len(second.inbox.waiting()) == 1


@pytest.mark.parametrize("path", ["/github", "/webhook"])
async def test_comments_that_never_came_are_heard_once(
    start_receiver: StartReceiver, closed_port: int, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """GitHub is asked to send them again, which come as usual; not what came, and not a second time."""
    receiver = await start_receiver()
    with FakeGitHub(NAME, token="gh-token") as github:  # noqa: S106 - of the double
        access = GitHubSettings(token=SecretStr("gh-token"), api_url=github.url)
        settings = Settings(webhook=WebhookSettings(repositories=(NAME,)), github=access)
        absence = Absence(receiver.inbox, Heads(access), Hooks(access), settings)
        receiver.inbox.be_present(time.time() - 3600)
        hook = github.hook(NAME, f"http://127.0.0.1:{closed_port}{path}", SECRET)
        github.hook(NAME, f"{receiver.client.base_url}/elsewhere", SECRET)

        def send() -> list[int]:
            return [
                hook.send("issue_comment", payload("issue_comment", comment__id=number), f"guid-{number}")
                for number in range(3)
            ]

        assert set(await asyncio.to_thread(send)) == {0}
        hook.url = f"{str(receiver.client.base_url).rstrip('/')}{path}"
        await asyncio.to_thread(hook.send, "issue_comment", payload("issue_comment"), "guid-here")
        await asyncio.to_thread(absence.catch_up)

        async def are_there() -> bool:
            return len(receiver.inbox.waiting()) == 4

        await until(are_there)
        await until(lambda: asyncio.sleep(0, len(hook.attempts) == 7))
        receiver.inbox.be_present(time.time() - 3600)
        await asyncio.to_thread(absence.catch_up)

        assert len(hook.attempts) == 7
        assert len(receiver.inbox.waiting()) == 4

        github.fail(404, on="/hooks", message="Not Found")
        with caplog.at_level("WARNING"):
            await asyncio.to_thread(absence.catch_up)
            await asyncio.to_thread(absence.catch_up)
    (said,) = [each.getMessage() for each in caplog.records if "absence" in each.name]
    assert said == (
        f"comments that were missed in {NAME} stay unheard: GitHub answered 404; "
        "KVSYNC_CI_GITHUB_TOKEN may not read and write its webhooks"
    )


async def test_metrics_and_health_say_what_waits_and_why(receiver: Receiver) -> None:
    """Names come from fixed sets, whatever headers say."""
    await receiver.deliver("push", payload("push"))
    await receiver.deliver(uuid4().hex, {})
    await receiver.client.post("/github", content=b"", headers={})

    async def troubled() -> dict[str, object]:
        health: dict[str, object] = (await receiver.client.get("/healthz")).json()
        return health if health["trouble"] == "prefect" else {}

    health = await until(troubled)
    lines = (await receiver.client.get("/metrics")).text.splitlines()

    assert health["waiting"] == 1
    for line in (
        'kvsync_ci_webhook_deliveries_total{event="push",outcome="accepted"} 1.0',
        'kvsync_ci_webhook_deliveries_total{event="other",outcome="ignored"} 1.0',
        'kvsync_ci_webhook_rejected_total{reason="signature"} 1.0',
        "kvsync_ci_webhook_inbox_depth 1.0",
        "kvsync_ci_webhook_answer_seconds_count 3.0",
    ):
        assert line in lines
    assert any(
        line.startswith('kvsync_ci_webhook_dispatch_failures_total{reason="prefect"}') for line in lines
    )


async def test_what_was_finished_elsewhere_or_forgotten_is_not_tried_again(receiver: Receiver) -> None:
    """Another process may use the same inbox, and nothing is kept there for ever."""
    await receiver.deliver("push", payload("push"))

    async def trouble(expected: str) -> bool:
        health: dict[str, object] = (await receiver.client.get("/healthz")).json()
        return health["trouble"] == expected

    await until(lambda: trouble("prefect"))
    receiver.inbox.finish(receiver.inbox.waiting()[0], "started", "of-another-process")
    await until(lambda: trouble(""))

    assert [*receiver.inbox.outcomes().values()] == [("started", "of-another-process")]


def test_without_a_secret_there_is_no_receiver(inbox: Inbox) -> None:
    """It could verify no delivery."""
    with pytest.raises(ConfigError, match="KVSYNC_CI_WEBHOOK_SECRET"):
        create_app(Settings(webhook=WebhookSettings(secret=SecretStr(""))), inbox)
