"""The gateway as clients, browsers and load balancers meet it: connections, methods, broken streams."""

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import aiohttp
import httpx
import pytest
from pydantic import ValidationError

from kvsync.config import GatewayConfig
from kvsync.gateway.server import running
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES
from kvsync.testing.doubles.upstream import STREAM_BEGUN
from tests.integration.gateway.conftest import ADDRESSES, Site, until

REQUEST = {"model": "m", "prompt": [1, 2, 3]}

HALF = b'{"model": "m", "prompt": "half a \\ud83d pair"}'
"""JSON that Python reads, and whose text cannot be encoded."""


async def test_an_idle_connection_is_kept_as_long_as_the_settings_say(site: Site) -> None:
    """It is the gateway that closes it, and not before."""
    await site.pod("a")
    client = await site.gateway("a", clients={"keep_alive_s": 1})

    async with aiohttp.ClientSession(str(client.base_url)) as session:
        await session.get("/healthz")
        assert session.connector is not None
        (connection,) = (one for pool in session.connector._conns.values() for one, _ in pool)
        assert connection.is_connected()

        async def closed() -> bool:
            return not connection.is_connected()

        await until(closed, bool)


async def test_an_offer_of_http_2_costs_no_request_its_body(site: Site) -> None:
    """Java's client offers h2c with what it asks first: that is answered, as is what follows it."""
    await site.pod("a")
    client = await site.gateway("a")
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEAAEAAAAIAAAAB"}

    async with aiohttp.ClientSession(str(client.base_url)) as session:
        for headers in (offer, {}, offer):
            answer = await session.post("/v1/completions", json=REQUEST, headers=headers)

            assert (answer.status, answer.headers["x-kvsync-pod"]) == (200, "a"), await answer.text()
            await answer.read()


async def test_the_method_that_is_wrong_and_those_that_are_right(site: Site) -> None:
    """RFC 9110 15.5.6: 405 names the methods that are allowed."""
    await site.pod("a")
    client = await site.gateway("a")

    answer = await client.get("/v1/completions")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_one_model_is_described(site: Site) -> None:
    """Also one with a slash in its name; of one that is not served the answer names those that are."""
    await site.pod("a")
    site.pods[0] = replace(site.pods[0], loras=("team/x",))
    client = await site.gateway("a")

    known = await client.get("/v1/models/team/x")
    unknown = await client.get("/v1/models/y")

    assert (known.json()["id"], known.json()["parent"]) == ("team/x", "m")
    assert unknown.status_code == 404
    assert "valid: m, team/x" in unknown.json()["error"]["message"]


async def test_half_a_character_is_refused(site: Site) -> None:
    """It is the client's mistake, and said so; a whole pair is fine."""
    await site.pod("a")
    client = await site.gateway("a")

    half = await client.post("/v1/completions", content=HALF)
    whole = await client.post("/v1/completions", content=HALF.replace(b"\\ud83d", b"\\ud83d\\ude00"))

    assert half.status_code == 400
    assert "surrogates not allowed" in half.json()["error"]["message"]
    assert whole.status_code == 200


async def test_a_body_may_be_as_large_as_the_settings_say(site: Site) -> None:
    """One byte more is refused."""
    await site.pod("a")
    body = json.dumps(REQUEST).encode()
    client = await site.gateway("a", clients={"max_body_bytes": len(body)})

    fits = await client.post("/v1/completions", content=body)
    too_large = await client.post("/v1/completions", content=body + b" ")

    assert (fits.status_code, too_large.status_code) == (200, 413)
    assert f"larger than {len(body)} bytes" in too_large.json()["error"]["message"]


@pytest.mark.parametrize("origins", [(), ("https://chat.example",)], ids=["none", "one"])
async def test_pages_of_other_origins(site: Site, origins: tuple[str, ...]) -> None:
    """A browser is let in from the origins of the settings, and may read how an answer was routed."""
    await site.pod("a")
    client = await site.gateway("a", clients={"cors_origins": origins})
    page = {"origin": "https://chat.example"}
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}

    before = await client.options("/v1/completions", headers=page | asks)
    answer = await client.post("/v1/completions", json=REQUEST, headers=page)

    allowed = [each.headers.get("access-control-allow-origin") for each in (before, answer)]
    assert allowed == ([page["origin"]] * 2 if origins else [None, None])
    if origins:
        assert "x-kvsync-pod" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ["chat.example", "https://chat.example/"])
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    """It would never match: an origin is a scheme, a host and a port."""
    with pytest.raises(ValidationError, match=r"clients.cors_origins.0"):
        GatewayConfig.model_validate({"pods_file": "/p", "clients": {"cors_origins": [origin]}})


@pytest.mark.parametrize(
    ("setting", "version"), [("event", "1.1"), ("close", "1.0")], ids=["by setting", "HTTP/1.0"]
)
async def test_a_stream_that_breaks_off_says_so(site: Site, setting: str, version: str) -> None:
    """As an error that OpenAI's clients raise; in HTTP/1.0 the end of the connection would not show it."""
    await site.pod(
        "a", answer=STREAM_BEGUN.replace(b"text/event-stream", b"Text/Event-Stream; charset=utf-8")
    )
    client = await site.gateway("a", clients={"broken_stream": setting})

    events = await _post(client, version)

    assert events[0] == {"choices": [{"text": "scr"}]}
    assert events[1]["error"]["code"] == 502
    assert "the answer of pod a broke off" in events[1]["error"]["message"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"", "the gateway ends"), (STREAM_BEGUN, "the answer of pod a broke off: the gateway ends")],
    ids=["not begun", "a stream"],
)
async def test_a_request_that_outlasts_the_gateway_is_told_so(site: Site, answer: bytes, said: str) -> None:
    """As an error of OpenAI's shape, when the time that running answers have is over."""
    pod = await site.pod("a", answer=answer, stalls=True)
    ending = asyncio.Event()
    config = {
        "host": ADDRESSES.next().host,
        "pods": site.pods,
        "sync_enabled": False,
        "clients": {"drain_s": 1, "broken_stream": "event"},
    }

    async def serve() -> None:
        async with running(GatewayConfig.model_validate(config)):
            await ending.wait()

    gateway = asyncio.create_task(serve())
    async with httpx.AsyncClient(
        base_url=f"http://{config['host']}:8080", timeout=10, verify=NO_CERTIFICATES
    ) as client:

        async def asked() -> httpx.Response | None:
            with suppress(httpx.ConnectError):
                return await client.post("/v1/completions", json=REQUEST)
            return None

        request = asyncio.create_task(asked())

        async def received() -> bool:
            nonlocal request
            if request.done() and request.result() is None:
                request = asyncio.create_task(asked())
            return bool(pod.received)

        await until(received, bool)
        ending.set()
        told = await request
    await gateway

    assert told is not None
    assert told.status_code == (503 if said == "the gateway ends" else 200)
    assert said in told.text


@pytest.mark.parametrize("path", ["/v1/completions", "/index/query"])
async def test_a_key_of_any_bytes_is_passed_on(site: Site, path: str) -> None:
    """It is for the engine to judge, as it came; also when tokens are asked for with it."""
    pod = await site.pod("a")
    client = await site.gateway("a")

    answer = await client.post(
        path, json={"model": "m", "prompt": "a text"}, headers=[(b"authorization", b"Bearer \xff\xfe")]
    )

    assert answer.status_code in (200, 503)
    keys = {each.headers["authorization"].encode("latin-1") for each in pod.received}
    assert keys == {b"Bearer \xff\xfe"}


async def _post(client: httpx.AsyncClient, version: str) -> list[dict[str, Any]]:
    """Post by hand, as httpx does not speak HTTP/1.0; returns the events of the answer."""
    body = json.dumps(REQUEST)
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    head = f"POST /v1/completions HTTP/{version}\r\nhost: x\r\nconnection: close\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return [json.loads(line[6:]) for line in answer.splitlines() if line.startswith(b"data: ")]
