"""What real clients make of a stream that breaks off at the pod."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from kvsync.testing.doubles.upstream import STREAM_BEGUN
from tests.integration.clients.scenarios import command, play, scenarios
from tests.integration.gateway.conftest import Site

STREAMED = {
    each.path: each for each in scenarios("m") if b'"stream": true' in each.body and each.status == 200
}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Scripted pods, and a gateway in front of them."""
    async with AsyncExitStack() as stack:
        yield Site(stack)


@pytest.mark.parametrize(
    ("client", "path"),
    [
        ("openai", "/v1/chat/completions"),
        ("openai", "/v1/responses"),
        ("anthropic", "/v1/messages"),
    ],
)
@pytest.mark.parametrize("setting", ["event", "close"])
async def test_a_stream_that_breaks_off_is_an_error(
    site: Site, client: str, path: str, setting: str, tmp_path: Path
) -> None:
    """Each package raises: what the gateway says in an event, or that a connection failed."""
    command(client)
    await site.pod("a", answer=STREAM_BEGUN)
    gateway = await site.gateway("a", clients={"broken_stream": setting})
    at = str(gateway.base_url).rstrip("/")

    found = await play(client, [replace(STREAMED[path], act="read")], tmp_path, at)

    (outcome,) = found[at].values()
    wanted = "the answer of pod a broke off" if setting == "event" else "connection"
    assert wanted in outcome.broken.lower(), outcome
