"""Pods that answer as they are told, and a gateway in front of them."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Literal, TypeVar

import httpx
import pytest

from kvsync.config import GatewayConfig
from kvsync.gateway.server import running
from kvsync.pods import Pod
from kvsync.testing.clusters.local.addresses import LoopbackBlock
from kvsync.testing.doubles.upstream import Upstream, listening

ADDRESSES = LoopbackBlock(f"gateway fail-over {os.getpid()}")

T = TypeVar("T")

WITHIN_S = 20.0
"""Far above what any condition needs, so that only a real failure takes this long."""


class Site:
    """Scripted pods, and a gateway in front of them that follows no events."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.pods: list[Pod] = []

    async def pod(
        self,
        name: str,
        life: AsyncExitStack | None = None,
        tls: ssl.SSLContext | None = None,
        **behaviour: object,
    ) -> Upstream:
        """Start a pod, behind TLS if given, that lives as long as the site or, if given, `life`."""
        scheme: Literal["http", "https"] = "https" if tls else "http"
        self.pods.append(Pod(name=name, model="m", host=ADDRESSES.next().host, scheme=scheme))
        upstream = Upstream(**behaviour)  # type: ignore[arg-type]
        return await (life or self.stack).enter_async_context(listening(self.pods[-1], upstream, tls))

    async def gateway(self, *healthy: str, **settings: object) -> httpx.AsyncClient:
        """Open a gateway; returns a client of it once the pods named are known to be healthy."""
        host = ADDRESSES.next().host
        given = {"host": host, "pods": self.pods, "sync_enabled": False, "health": {"interval_s": 60}}
        url = await self.stack.enter_async_context(running(GatewayConfig.model_validate(given | settings)))
        client = await self.stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=10))
        wanted = {pod.name: pod.name in healthy for pod in self.pods}
        await until(lambda: health(client), lambda known: known == wanted)
        return client

    async def open(
        self, host: str, verify: ssl.SSLContext | bool = True, **settings: object
    ) -> httpx.AsyncClient:
        """Open a gateway that may have a port for `operator`; returns a client of it once it is ready."""
        given = {"host": host, "pods": self.pods, "sync_enabled": False}
        url = await self.stack.enter_async_context(running(GatewayConfig.model_validate(given | settings)))
        self.operator = await self.stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://{host}:9090", timeout=10)
        )
        client = await self.stack.enter_async_context(
            httpx.AsyncClient(base_url=url, timeout=10, verify=verify)
        )
        await until(lambda: client.get("/readyz"), lambda answer: answer.is_success)
        return client


async def until(ask: Callable[[], Awaitable[T]], enough: Callable[[T], object]) -> None:
    """Ask until the answer is good enough."""
    async with asyncio.timeout(WITHIN_S):
        while not enough(await ask()):  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)


async def health(client: httpx.AsyncClient) -> dict[str, bool]:
    """Which pods the gateway takes for healthy."""
    return {pod["name"]: pod["healthy"] for pod in (await client.get("/status")).json()["pods"]}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A place for pods and a gateway, torn down after the test."""
    async with AsyncExitStack() as stack:
        yield Site(stack)
