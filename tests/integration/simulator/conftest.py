"""Simulators in this process, on addresses of their own."""

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest

from kvsync.simulator.pod import SimulatedPod
from kvsync.simulator.run import SimulatorOptions, running
from kvsync.testing.clusters.local.addresses import LoopbackBlock

ADDRESSES = LoopbackBlock(os.getpid())

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that speak plain HTTP only: reading all certificates takes a quarter of a second."""

Simulate = Callable[..., Awaitable[tuple[SimulatedPod, httpx.AsyncClient]]]


@pytest.fixture
async def simulate() -> AsyncIterator[Simulate]:
    """Start a simulator of the model `base` that waits for nothing; returns it and a client of its API."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> tuple[SimulatedPod, httpx.AsyncClient]:
            address = ADDRESSES.next()
            settings = SimulatorOptions(
                name="a",
                model="base",
                host=address.host,
                port=address.port,
                event_port=address.event_port,
                replay_port=address.replay_port,
                admin_port=address.admin_port,
                time_scale=0,
            )
            pod = await stack.enter_async_context(running(replace(settings, **options)))
            url = f"http://{address.host}:{address.port}"
            client = httpx.AsyncClient(base_url=url, timeout=10, verify=NO_CERTIFICATES)
            return pod, await stack.enter_async_context(client)

        yield start
