"""Requests as they come over a raw socket: in halves, with offers, with more than one in a packet."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from kvsync.testing.doubles.upstream import STREAM_BEGUN
from tests.integration.gateway.conftest import Site, until

BODY = b'{"model": "m", "prompt": [1, 2, 3]}'

HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(BODY)

H2C = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n\r\n"
)
"""What Java's HttpClient adds to its requests."""


@asynccontextmanager
async def connected(
    client: httpx.AsyncClient,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a gateway, on which nothing may take longer than a few seconds."""
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    async with asyncio.timeout(10):
        yield reader, writer
    writer.close()


@pytest.mark.parametrize(
    ("half", "said"),
    [
        (HEAD + b"\r\n" + BODY[:9], f"9 of {len(BODY)} bytes of the body came, and nothing more for 0.2 s"),
        (
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n",
            "5 bytes",
        ),
        (HEAD[:30], "the head of a request is incomplete, and nothing came for 0.2 s"),
    ],
    ids=["body", "chunks", "head"],
)
async def test_a_request_that_does_not_get_on_is_ended(site: Site, half: bytes, said: str) -> None:
    """With 408, as nothing more of it comes; the connection is closed, as its end is not known."""
    pod = await site.pod("a")
    client = await site.gateway("a", clients={"request_idle_s": 0.2})

    async with connected(client) as (reader, writer):
        writer.write(half)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head
    assert said in json.loads(body)["error"]["message"]
    assert pod.received == []


async def test_a_head_that_is_too_long_is_not_kept(site: Site) -> None:
    """Whoever sends one header after the other takes no memory."""
    await site.pod("a")
    client = await site.gateway("a")

    async with connected(client) as (reader, writer):
        writer.write(HEAD)
        for _ in range(3):
            writer.write(b"x-more: %b\r\n" % (b"x" * 30_000))
            await writer.drain()
            await asyncio.sleep(0.02)
        answer = await reader.read()

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"longer than 65536 bytes" in answer


async def test_headers_after_a_body_are_left_out(site: Site) -> None:
    """The engine gets the body as it was, with a length."""
    pod = await site.pod("a")
    client = await site.gateway("a")
    chunk = b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)

    async with connected(client) as (reader, writer):
        head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head + chunk + b"x-after: y\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")

    assert [(each.body, "x-after" in each.headers) for each in pod.received] == [(BODY, False)]


async def test_a_body_that_is_announced_as_too_large_is_not_waited_for(site: Site) -> None:
    """A client that has sent no byte of it learns so, and need not send any."""
    await site.pod("a")
    client = await site.gateway("a")

    async with connected(client) as (reader, writer):
        writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n")
        answer = await reader.read()

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_request_may_take_its_time(site: Site) -> None:
    """One of which something comes now and then is served, however long it takes in all."""
    await site.pod("a")
    client = await site.gateway("a", clients={"request_idle_s": 1})

    async with connected(client) as (reader, writer):
        for byte in (HEAD[:20], HEAD[20:], b"\r\n", *(BODY[at : at + 8] for at in range(0, len(BODY), 8))):
            writer.write(byte)
            await asyncio.sleep(0.2)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")


async def test_a_connection_without_any_request_is_closed(site: Site) -> None:
    """As one that is idle after an answer."""
    await site.pod("a")
    client = await site.gateway("a", clients={"keep_alive_s": 1})

    async with connected(client) as (reader, _):
        assert await reader.read() == b""


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "head first"])
async def test_an_offer_of_http_2_is_not_taken_up(
    site: Site, pause: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The request is answered as it is, also the next on its connection; nothing is logged of it."""
    pod = await site.pod("a")
    client = await site.gateway("a")

    async with connected(client) as (reader, writer):
        for _ in range(2):
            writer.write(HEAD + H2C)
            if pause:
                await writer.drain()
                await asyncio.sleep(0.05)
            writer.write(BODY)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            await reader.readuntil(b"}]}")

    assert [each.body for each in pod.received] == [BODY, BODY]
    assert [each.message for each in caplog.records if "upgrade" in each.message] == []


async def test_a_client_that_takes_nothing_is_cut_off(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Its request would occupy the pod for as long as it likes; nobody is told of a defect."""
    part = b"data: %b\n\n" % (b"x" * 2**20)
    await site.pod("a", answer=STREAM_BEGUN + b"%x\r\n%b\r\n" % (len(part), part) * 20, stalls=True)
    client = await site.gateway("a", clients={"unread_s": 0.3})
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port, limit=1024)
    writer.write(HEAD + b"\r\n" + BODY)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")

    async def running() -> int:
        return int((await client.get("/status")).json()["pods"][0]["running"])

    await until(running, lambda count: count == 0)
    assert len(await reader.read()) < 20 * len(part)
    writer.close()
    assert [each.message for each in caplog.records if each.levelname == "ERROR"] == []


async def test_a_stream_that_breaks_off_is_no_defect(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The client sees it; the log has a warning, and no error of the server's own."""
    await site.pod("a", answer=STREAM_BEGUN)
    client = await site.gateway("a")

    with pytest.raises(httpx.RemoteProtocolError):
        await client.post("/v1/completions", json={"model": "m", "prompt": [1]})

    assert [each.message for each in caplog.records if each.levelname == "ERROR"] == []
