"""What the client gets when engines refuse a request, at the real socket."""

from contextlib import AsyncExitStack

import httpx
import pytest

from kvsync.testing.doubles.upstream import STREAM_BEGUN, refusing
from tests.integration.gateway.conftest import Site

REQUEST = {"model": "m", "prompt": [1, 2, 3]}

LOADING = refusing(b"503 Service Unavailable", b'{"error": {"message": "the model is loading"}}')
FULL = refusing(b"429 Too Many Requests", b'{"error": {"message": "the queue is full"}}')
FAILED = refusing(b"500 Internal Server Error", b'{"error": {"message": "it hurts"}}')


@pytest.mark.parametrize("stream", [False, True])
async def test_the_engines_own_words(site: Site, *, stream: bool) -> None:
    """When all pods that got a request answered 503, the client gets that, also when another is gone."""
    pods = [await site.pod(name, answer=LOADING) for name in "ab"]
    async with AsyncExitStack() as life:
        await site.pod("gone", life)
        client = await site.gateway("a", "b", "gone")

    answer = await client.post("/v1/completions", json={**REQUEST, "stream": stream})

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.json() == {"error": {"message": "the model is loading"}}
    assert answer.headers["x-kvsync-pod"] in "ab"
    assert [len(pod.received) for pod in pods] == [1, 1]


async def test_when_only_some_refused_the_client_learns_all(site: Site) -> None:
    """A pod that broke off said nothing; the answer names both, and still says when to come again."""
    await site.pod("a", answer=LOADING)
    await site.pod("b", answer=b"")
    client = await site.gateway("a", "b")

    answer = await client.post("/v1/completions", json=REQUEST)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert "a: status 503" in answer.json()["error"]["message"]
    assert "b: Disconnected" in answer.json()["error"]["message"]


async def on(client: httpx.AsyncClient, life: AsyncExitStack) -> str:
    """Begin a stream that lasts as long as `life`; returns the pod that it runs on."""
    answer = await life.enter_async_context(client.stream("POST", "/v1/completions", json=REQUEST))
    return answer.headers["x-kvsync-pod"]


async def test_a_full_pod_s_request_goes_to_one_with_less_to_do(site: Site) -> None:
    """A pod with one request refuses the next by 429: the idle one gets it."""
    full = await site.pod("full", answer=STREAM_BEGUN, stalls=True)
    await site.pod("other", healthy=False)
    client = await site.gateway("full")

    async with AsyncExitStack() as life:
        assert await on(client, life) == "full"
        full.answer, full.stalls = FULL, False
        answer = await client.post("/v1/completions", json=REQUEST)

    assert (answer.status_code, answer.headers["x-kvsync-pod"]) == (200, "other")
    assert len(full.received) == 2


async def test_a_429_is_passed_on_when_no_pod_has_less_to_do(site: Site) -> None:
    """With as much to do other pods would say the same; the client gets the first one's words."""
    pods = [await site.pod(name, answer=FULL) for name in "ab"]
    client = await site.gateway("a", "b")

    answer = await client.post("/v1/completions", json=REQUEST)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json() == {"error": {"message": "the queue is full"}}
    assert sum(len(pod.received) for pod in pods) == 1


async def test_a_500_is_passed_on(site: Site) -> None:
    """A request that makes an engine fail would make the next one fail as well."""
    pods = [await site.pod(name, answer=FAILED) for name in "ab"]
    client = await site.gateway("a", "b")

    answer = await client.post("/v1/completions", json=REQUEST)

    assert (answer.status_code, answer.json()) == (500, {"error": {"message": "it hurts"}})
    assert sum(len(pod.received) for pod in pods) == 1
