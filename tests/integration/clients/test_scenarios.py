"""Real clients play one file of scenarios against a simulated engine, and a gateway in front of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.integration.clients.scenarios import CLIENTS, command, play, scenarios, wrong
from tests.integration.gateway.test_gateway import Site

MODEL = "base"

PLAN = scenarios(MODEL)

LEFT = ("leave", "give up")

WITHIN_S = 10.0


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A place for an engine and a gateway, torn down after the test."""
    async with AsyncExitStack() as stack:
        yield Site(stack)


async def until(ask: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Wait until an answer is the one that is wanted."""
    async with asyncio.timeout(WITHIN_S):
        while await ask() != wanted:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_cannot_tell_the_gateway_from_an_engine(
    site: Site, client: str, tmp_path: Path
) -> None:
    """It gets what it expects from both, and the same; what it leaves ends, and predictions come true."""
    command(client)
    engine = await site.engine("a", MODEL, capacity=20_000, max_model_len=200_000, time_scale=0.5)
    gateway = await site.gateway(clients={"broken_stream": "event"})
    at, there = str(gateway.base_url).rstrip("/"), site.pods[0].url

    outcomes = await play(client, PLAN, tmp_path, there, at)

    assert {server: list(wrong(PLAN, found)) for server, found in outcomes.items()} == {there: [], at: []}
    kept = {each.name for each in PLAN if each.act not in LEFT and each.status == 200}
    through, directly = (
        [found[name] for name in found if name in kept] for found in (outcomes[at], outcomes[there])
    )
    assert through == directly
    assert len(through) >= (3 if client == "anthropic" else 10)

    async def working() -> object:
        pods = (await gateway.get("/status")).json()["pods"]
        return [pod["running"] for pod in pods], len(engine.engine.scheduler.running)

    await until(working, ([0], 0))
    left = [each.name for each in PLAN if each.act in LEFT and each.name in outcomes[at]]
    assert engine.engine.metrics.finished["abort"] == 2 * len(left)
    predictions = (await gateway.get("/status")).json()["pods"][0]["predictions"]
    assert (predictions["over"], predictions["under"]) == (0, 0)
    assert predictions["exact"] > 0
