"""Senders without the secret, and deliveries that start nothing, take nothing from GitHub."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from deployments.connections import MAX_CONNECTIONS, ConnectionLimits
from tests.payloads.recorded import payload
from tests.pipeline.webhook.conftest import Receiver, StartReceiver, headers, until

HALF = b"POST /github HTTP/1.1\r\nHost: ci\r\nX-Filler: "
WITH_HALF_A_BODY = b"POST /github HTTP/1.1\r\nHost: ci\r\nContent-Length: 1000000\r\n\r\nhalf"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def connections() -> AsyncIterator[AsyncExitStack]:
    """Closes what was opened."""
    async with AsyncExitStack() as stack:
        yield stack


async def opened(receiver: Receiver, stack: AsyncExitStack, count: int, sent: bytes) -> list[Connection]:
    """Open connections and send the same over each."""
    made = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        stack.callback(writer.close)
        writer.write(sent)
        made.append((reader, writer))
    return made


@pytest.mark.parametrize(
    "sent", [b"", HALF, WITH_HALF_A_BODY], ids=["nothing", "half a header", "half a body"]
)
async def test_idle_connections_keep_no_delivery_out(
    start_receiver: StartReceiver, connections: AsyncExitStack, sent: bytes
) -> None:
    """However many there are, and behind one address; the oldest of them leave."""
    receiver = await start_receiver()
    first, *_ = await opened(receiver, connections, MAX_CONNECTIONS + 5, sent)

    pushes = [payload("push", before=letter * 40) for letter in "abc"]
    answers = [(await receiver.deliver("push", push))[1].status_code for push in pushes]

    assert answers == [202, 202, 202]
    async with asyncio.timeout(5):
        assert await _end(first) == b""


async def test_a_header_has_a_time_limit(start_receiver: StartReceiver, connections: AsyncExitStack) -> None:
    """Also the second one of a connection."""
    receiver = await start_receiver(limits=ConnectionLimits(head_timeout_s=0.2))
    (first,) = await opened(receiver, connections, 1, HALF)
    (second,) = await opened(receiver, connections, 1, b"GET /healthz HTTP/1.1\r\nHost: ci\r\n\r\n" + HALF)

    async with asyncio.timeout(10):
        assert await _end(first) == b""
        assert b'"waiting":0' in await _end(second)


async def test_half_bodies_hold_a_bounded_memory(
    start_receiver: StartReceiver, connections: AsyncExitStack
) -> None:
    """The slowest leaves; a delivery that comes at once does not."""
    receiver = await start_receiver(limits=ConnectionLimits(held=300_000))
    head = b"POST /github HTTP/1.1\r\nHost: ci\r\nContent-Length: 200000\r\n\r\n"
    slow, other = await opened(receiver, connections, 2, head + b"x" * 150_001)

    async with asyncio.timeout(10):
        assert await _end(slow) == b""
    assert (await receiver.deliver("push", payload("push")))[1].status_code == 202
    assert not other[0].at_eof()


async def _end(connection: Connection) -> bytes:
    """Read what the receiver sends before it ends a connection; it does not say why."""
    try:
        return await connection[0].read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    ("event", "changes"),
    [
        ("status", {}),
        ("check_run", {}),
        ("push", {"ref": "refs/heads/topic"}),
        ("pull_request", {"action": "labeled"}),
        ("issue_comment", {"comment__body": "Looks good."}),
    ],
)
async def test_what_starts_nothing_uses_up_nothing(
    start_receiver: StartReceiver, event: str, changes: dict[str, object]
) -> None:
    """A hook on everything hears our own statuses, and then a pull request; no time passes meanwhile."""
    receiver = await start_receiver(rate_per_minute=2, clock=lambda: 0.0)
    document = payload(event, **changes) if changes else {}
    noise = [(await receiver.deliver(event, document))[1].status_code for _ in range(10)]
    answers = [
        (await receiver.deliver("pull_request", payload("pull_request")))[1].status_code for _ in range(3)
    ]

    assert (set(noise), answers) == ({202}, [202, 202, 429])


async def test_a_body_as_large_as_github_sends_is_taken(start_receiver: StartReceiver) -> None:
    """25 MB of commits in one push."""
    receiver = await start_receiver()
    document = json.dumps(payload("push")).encode()[:-1] + b', "filler": "'
    body = document + b"x" * (25 * 1024**2 - len(document) - 2) + b'"}'
    sent = headers("push", body, str(uuid4()))
    answer = await receiver.client.post("/github", content=body, headers=sent)

    assert (len(body), answer.status_code, answer.text) == (25 * 1024**2, 202, "accepted")


async def test_many_deliveries_at_a_time_are_all_taken(start_receiver: StartReceiver) -> None:
    """More than there may be connections."""
    receiver = await start_receiver(rate_per_minute=1000)

    async def deliver() -> int:
        return (await receiver.deliver("push", payload("push", before=uuid4().hex)))[1].status_code

    async def all_taken() -> bool:
        return len(receiver.inbox.outcomes()) == 60

    assert await asyncio.gather(*(deliver() for _ in range(60))) == [202] * 60
    assert await until(all_taken)
