"""The gateway as a process that is interrupted twice."""

import asyncio
import json
import signal
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from kvsync.config import GatewayConfig
from kvsync.gateway.server import Server
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES
from kvsync.testing.doubles.upstream import STREAM_BEGUN, WHOLE
from tests.integration.gateway.conftest import ADDRESSES, Site, until


@pytest.mark.parametrize("answer", [b"", STREAM_BEGUN], ids=["not begun", "a stream"])
async def test_the_second_interrupt_ends_it_at_once(site: Site, answer: bytes, tmp_path: Path) -> None:
    """A request that still runs is told so, and the log has no word of a defect."""
    pod, host = await site.pod("a", answer=answer, stalls=True), ADDRESSES.next().host
    pods = [{"name": "a", "model": "m", "host": site.pods[0].host}]
    settings = {"host": host, "pods": pods, "sync_enabled": False, "clients": {"broken_stream": "event"}}
    (tmp_path / "gateway.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "kvsync", "gateway", "--config", str(tmp_path / "gateway.json")]
    gateway = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)

    async with httpx.AsyncClient(
        base_url=f"http://{host}:8080", timeout=30, verify=NO_CERTIFICATES
    ) as client:

        async def is_ready() -> bool:
            with suppress(httpx.TransportError):  # also while it closes connections
                return (await client.get("/readyz")).is_success
            return False

        async def asked() -> int:
            return len(pod.received)

        async with asyncio.timeout(30):
            while not await is_ready():  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0.05)
        request = asyncio.create_task(client.post("/v1/completions", json={"model": "m", "prompt": [1]}))
        await until(asked, bool)
        gateway.send_signal(signal.SIGINT)

        async def is_closed() -> bool:
            return not await is_ready()

        await until(is_closed, bool)
        gateway.send_signal(signal.SIGINT)
        _, said = await asyncio.wait_for(gateway.communicate(), 10)
        told = await request

    assert gateway.returncode == 0
    assert "the gateway ends" in told.text
    assert b"Traceback" not in said, said.decode()
    assert b"ERROR" not in said, said.decode()


async def test_a_response_that_is_asked_for_again_while_the_gateway_ends(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Is answered as all that did not begin in time: 503, and no defect in the log."""
    pod, host = (
        await site.pod(
            "a",
            answer=WHOLE.replace(
                b'{"choices": [{"text": "scripted"}]}', b'{"id":"resp_1", "text": "scripted"}'
            ),
        ),
        ADDRESSES.next().host,
    )
    server = Server(
        GatewayConfig.model_validate(
            {"host": host, "pods": site.pods, "sync_enabled": False, "clients": {"drain_s": 0}}
        )
    )
    ends = asyncio.create_task(server.run())

    async with httpx.AsyncClient(base_url=server.url, timeout=10, verify=NO_CERTIFICATES) as client:
        await until(lambda: client.get("/readyz"), lambda answer: answer.is_success)
        given = await client.post("/v1/responses", json={"model": "m", "input": "hello"})
        pod.answer, pod.stalls, before = b"", True, len(pod.received)
        request = asyncio.create_task(client.get("/v1/responses/resp_1"))

        async def asked() -> bool:
            return len(pod.received) > before

        await until(asked, bool)
        server.stop()
        told = await request
        await ends

    assert given.is_success
    assert (told.status_code, told.headers["retry-after"]) == (503, "1")
    assert [each.getMessage() for each in caplog.records if each.exc_info] == []
