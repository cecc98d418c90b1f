"""How long the transport remembers a peer that it no longer asks."""

import asyncio

import httpx

from kvsync.gateway.transport import FORGET_S, PeerTransport
from kvsync.testing.doubles.upstream import STREAM_BEGUN
from tests.integration.gateway.conftest import Site


async def test_a_peer_is_forgotten_after_its_last_answer(site: Site) -> None:
    """An answer of a pod that left the list goes on, however long it takes; then the peer may go."""
    gone = await site.pod("gone", answer=STREAM_BEGUN, stalls=True)
    for name in ("a", "b"):
        await site.pod(name)
    now = 0.0
    transport = PeerTransport(lambda: now)
    urls = [f"{pod.url}/v1/completions" for pod in site.pods]

    slow = await transport.handle_async_request(httpx.Request("POST", urls[0]))
    now = FORGET_S + 1
    await (await transport.handle_async_request(httpx.Request("POST", urls[1]))).aclose()
    begun = await anext(slow.aiter_raw())
    kept = gone.abandoned == 0
    await slow.aclose()
    now *= 2
    await (await transport.handle_async_request(httpx.Request("POST", urls[2]))).aclose()

    assert begun == b'data: {"choices": [{"text": "scr"}]}\n\n'
    assert kept
    assert [key[1] for key in transport._peers] == [site.pods[2].host]
    await transport.aclose()
    async with asyncio.timeout(5):
        while not gone.abandoned:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)
