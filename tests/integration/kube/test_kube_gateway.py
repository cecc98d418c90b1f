"""A gateway that is told to find its pods in Kubernetes."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from kvsync.config import GatewayConfig
from kvsync.gateway.server import running
from kvsync.simulator import run as simulator
from kvsync.simulator.options import SimulatorOptions
from kvsync.testing.clusters.local.addresses import LoopbackBlock
from kvsync.testing.doubles.api_server import FakeApiServer, pod_manifest

ADDRESSES = LoopbackBlock(f"kube gateway {os.getpid()}")

WITHIN_S = 10.0
"""Far above what any condition needs, so that only a real failure takes this long."""

PROMPT = {"model": "qwen", "prompt": list(range(64)), "max_tokens": 1}


@pytest.fixture
async def engine(api: FakeApiServer) -> AsyncIterator[None]:
    """An engine that runs, and is the pod b of the API server."""
    at = ADDRESSES.next()
    options = SimulatorOptions(
        name="b",
        model="qwen",
        host=at.host,
        port=at.port,
        event_port=at.event_port,
        replay_port=at.replay_port,
        admin_port=at.admin_port,
        time_scale=0,
    )
    annotations = {
        "model.aibrix.ai/port": str(at.port),
        "kvsync.dev/event-port": str(at.event_port),
        "kvsync.dev/replay-port": str(at.replay_port),
    }
    async with simulator.running(options):
        api.put(pod_manifest("b", ip=at.host, annotations=annotations))
        yield


@pytest.fixture
async def gateway(kubeconfig: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway that follows the API server."""
    kubernetes = {"kubeconfig": kubeconfig, "timeout_s": 1.0, "retry_s": 0.01, "retry_max_s": 0.02}
    settings = {"host": ADDRESSES.next().host, "health": {"interval_s": 0.1}, "kubernetes": kubernetes}
    async with (
        running(GatewayConfig.model_validate(settings)) as url,
        httpx.AsyncClient(base_url=url, timeout=WITHIN_S) as client,
    ):
        yield client


async def until(gateway: httpx.AsyncClient, condition: Callable[[dict[str, Any]], object]) -> None:
    """Wait for a condition of the gateway's status."""
    async with asyncio.timeout(WITHIN_S):
        while not condition((await gateway.get("/status")).json()):  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)


def blocks(status: dict[str, Any]) -> list[tuple[str, int]]:
    """Each pod that serves, with the blocks that are known of it."""
    return [(pod["name"], pod["sources"][0]["blocks"]) for pod in status["pods"] if pod["healthy"]]


async def test_the_gateway_serves_on_while_the_api_server_is_away(
    api: FakeApiServer, engine: None, gateway: httpx.AsyncClient
) -> None:
    """Requests are routed by the events of pods found before; the status says that others may be missed."""
    api.delete("a")
    await until(gateway, lambda status: blocks(status) == [("b", 0)] and not status["discovery"]["problem"])
    first = await gateway.post("/v1/completions", json=PROMPT)
    await until(gateway, lambda status: blocks(status) == [("b", 4)])
    await api.away()
    await until(gateway, lambda status: "no news of pods since" in status["discovery"]["problem"])
    second = await gateway.post("/v1/completions", json=PROMPT)
    await api.back()
    api.delete("b")
    await until(gateway, lambda status: status["discovery"] == {"pods": 0, "problem": ""})

    answers = [(each.status_code, each.headers["x-kvsync-matched-blocks"]) for each in (first, second)]
    assert answers == [(200, "0"), (200, "4")]


def test_only_who_asks_kubernetes_imports_its_library() -> None:
    """Importing it takes a second, which a gateway with a list of pods, or a simulator, does not spend."""
    code = (
        "import sys; import kvsync.cli, kvsync.gateway.app as app; from kvsync.config import GatewayConfig;"
        "app.create_app(GatewayConfig(pods=[dict(name='a', model='m', host='h')]));"
        "print('kubernetes' in sys.modules, end=' ');"
        "app.create_app(GatewayConfig(kubernetes={}));"
        "print('kubernetes' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True
    )

    assert shown.stdout == "False True\n"
