"""A gateway whose indexer is another process serves on without it, and is exact again when it is back."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from kvsync.pods import Pod
from tests.integration.gateway.test_gateway import Json, Site, routing, until

REQUEST = {"model": "base", "prompt": list(range(65)), "max_tokens": 1}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A place for engines and gateways, torn down after the test."""
    async with AsyncExitStack() as stack:
        yield Site(stack)


def indexers() -> list[psutil.Process]:
    """The indexers that this process has started."""
    children = psutil.Process().children()
    return [each for each in children if "indexer" in each.cmdline()]


def source_of(status: Any) -> list[dict[str, str]]:
    """What a status says of the only pod's sources."""
    (pod,) = status["pods"]
    return list(pod["sources"])


def files(folder: Path) -> list[Path]:
    """What a folder holds."""
    return [*folder.iterdir()]


async def complete(client: httpx.AsyncClient) -> dict[str, str]:
    """Complete a prompt; returns how that was routed."""
    answer = await client.post("/v1/completions", json=REQUEST)
    assert answer.status_code == 200
    return routing(answer)


async def is_held(client: httpx.AsyncClient) -> bool:
    """Whether the blocks of the prompt have been announced."""
    return (await complete(client))["matched-blocks"] == "4"


async def until_held(client: httpx.AsyncClient) -> None:
    """Complete the prompt until its blocks are known."""

    async def held() -> Json | None:
        return {"held": True} if await is_held(client) else None

    await until(held)


async def test_a_gateway_serves_on_while_its_indexer_is_killed(site: Site) -> None:
    """Every request is answered; those without an indexer go by load, and say so; then all is known again."""
    await site.engine("a")
    client = await site.gateway(indexer={"mode": "process"})
    await until_held(client)
    (indexer,) = indexers()
    indexer.kill()

    async def blind() -> Json | None:
        answered = await complete(client)
        return {"blind": True} if answered["source-state"] == "blind" else None

    await until(blind)
    await site.settled(client)
    assert (await complete(client))["matched-blocks"] == "4"

    told = (await client.get("/status")).json()["indexer"]
    metrics = (await client.get("/metrics")).text
    assert (told["mode"], told["problem"], told["restarts"]) == ("process", "", 1)
    assert "kvsync_indexer_up 1.0" in metrics
    assert "kvsync_indexer_restarts_total 1.0" in metrics
    unknown = (f'kvsync_indexer_queries_total{{outcome="{how}"}}' for how in ("away", "unanswered"))
    assert any(each in metrics for each in unknown)


async def test_a_stopped_indexer_is_not_waited_for(site: Site) -> None:
    """Requests go by load while it does not answer."""
    await site.engine("a")
    client = await site.gateway(indexer={"mode": "process", "timeout_s": 0.05})
    await until_held(client)
    (indexer,) = indexers()
    indexer.suspend()

    async def away() -> Json | None:
        told = (await client.get("/status")).json()
        return told if told["indexer"]["problem"] else None

    try:
        assert (await complete(client))["matched-blocks"] == "0"
        told = await until(away)
    finally:
        indexer.resume()
    (source,) = source_of(told)
    assert source["state"] == "blind"
    assert source["reason"].startswith("the indexer does not answer")
    await site.settled(client)
    assert await is_held(client)


async def test_without_an_indexer_there_are_no_snapshots(site: Site, socket_folder: Path) -> None:
    """Another gateway that asks for them is told why, before anything is sent."""
    site.pods.append(Pod(name="gone", model="base", host="127.0.0.1", port=1, event_port=2))
    client = await site.gateway(indexer={"mode": "shared", "socket": str(socket_folder / "indexer.sock")})

    answer = await client.get("/index/snapshots")

    assert answer.status_code == 503
    assert "No such file" in answer.json()["error"]["message"]


async def test_gateways_share_an_indexer(site: Site, socket_folder: Path) -> None:
    """Both know what either has caused."""
    await site.engine("a")
    address = str(socket_folder / "indexer.sock")
    config = socket_folder / "gateway.json"
    config.write_text(json.dumps({"pods": [asdict(pod) for pod in site.pods]}))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kvsync", "indexer", "--config", config, "--socket", address)
    )
    try:
        shared = {"mode": "shared", "socket": address}
        one, other = await site.gateway(indexer=shared), await site.gateway(indexer=shared)
        await until_held(one)
        assert await is_held(other)
        runs = [(await each.get("/status")).json()["indexer"]["run"] for each in (one, other)]
        assert runs[0] == runs[1]
    finally:
        process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert files(socket_folder) == [config]  # the socket is gone
