"""The gateway when pods fail: another pod answers, or the client learns what was tried."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kvsync.pods import Pod
from kvsync.testing.doubles.upstream import STREAM_BEGUN, UNAVAILABLE, WHOLE
from tests.integration.gateway.conftest import ADDRESSES, WITHIN_S, Site, health, until

REQUEST = {"model": "m", "prompt": [1, 2, 3]}


async def running_on(client: httpx.AsyncClient) -> list[int]:
    """How many requests the gateway counts as running on each pod."""
    return [pod["running"] for pod in (await client.get("/status")).json()["pods"]]


async def failures(client: httpx.AsyncClient) -> dict[str, float]:
    """How often each pod failed a request."""
    return {
        sample.labels["pod"]: sample.value
        for family in text_string_to_metric_families((await client.get("/metrics")).text)
        for sample in family.samples
        if sample.name == "kvsync_upstream_failures_total"
    }


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param({"answer": UNAVAILABLE}, id="answers-503"),
        pytest.param({"answer": b""}, id="hangs-up"),
        pytest.param({"answer": WHOLE[:-5]}, id="hangs-up-amid-a-whole-answer"),
        pytest.param({"answer": b"", "stalls": True}, id="does-not-answer"),
        pytest.param({"answer": WHOLE[:-5], "stalls": True}, id="does-not-end-its-answer"),
        pytest.param({"answer": b"nonsense\r\n\r\n"}, id="speaks-no-http"),
    ],
)
async def test_another_pod_answers(site: Site, behaviour: dict[str, Any]) -> None:
    """A request that a pod fails before a byte was passed on is answered by another one."""
    bad, good = await site.pod("bad", **behaviour), await site.pod("good", answer=STREAM_BEGUN, stalls=True)
    client = await site.gateway("bad", "good", upstream={"answer_s": 0.2})

    async with client.stream("POST", "/v1/completions", json=REQUEST) as keeps_good_busy:
        good.answer, good.stalls = WHOLE, False
        bad.received.clear()
        answer = await client.post("/v1/completions", json=REQUEST)

    assert keeps_good_busy.headers["x-kvsync-pod"] == answer.headers["x-kvsync-pod"] == "good"
    assert answer.json() == {"choices": [{"text": "scripted"}]}
    assert len(bad.received) >= 1
    assert (await failures(client))["bad"] >= 1


async def test_a_pod_that_just_died_is_passed_over(site: Site) -> None:
    """A pod that refuses connections before its probes noticed costs no request."""
    await site.pod("good", answer=STREAM_BEGUN, stalls=True)
    async with AsyncExitStack() as life:
        await site.pod("dead", life)
        client = await site.gateway("good", "dead")

    async with (
        client.stream("POST", "/v1/completions", json=REQUEST) as first,
        client.stream("POST", "/v1/completions", json=REQUEST) as second,
    ):
        assert [first.status_code, second.status_code] == [200, 200]

    assert (await failures(client))["dead"] >= 1


async def test_a_pod_that_falls_ill_is_not_waited_for(site: Site) -> None:
    """A pod that took a request and then fails its probes loses the request to another one."""
    ill, good = (
        await site.pod("ill", answer=b"", stalls=True),
        await site.pod("good", answer=b"", stalls=True),
    )
    client = await site.gateway("ill", "good", health={"interval_s": 0.05})
    requests = [asyncio.create_task(client.post("/v1/completions", json=REQUEST)) for _ in range(2)]
    await until(lambda: running_on(client), lambda _: ill.received and good.received)
    good.answer, good.stalls = WHOLE, False

    ill.healthy = False
    async with asyncio.timeout(WITHIN_S):
        moved, _ = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)

    assert [request.result().headers["x-kvsync-pod"] for request in moved] == ["good"]
    await until(lambda: running_on(client), lambda running: ill.abandoned and running == [0, 1])
    for request in requests:
        request.cancel()


async def test_pods_that_seem_ill_are_tried_when_no_other_is_left(site: Site) -> None:
    """With no healthy pod the others are asked all the same."""
    ill = await site.pod("ill", healthy=False)
    client = await site.gateway()

    answer = await client.post("/v1/completions", json=REQUEST)

    assert (answer.status_code, len(ill.received)) == (200, 1)
    assert (await client.get("/readyz")).status_code == 503


async def test_healthy_pods_come_first(site: Site) -> None:
    """As long as a healthy pod answers, one that fails its probes is left alone."""
    ill = await site.pod("ill", healthy=False)
    await site.pod("well")
    client = await site.gateway("well")

    for _ in range(8):
        await client.post("/v1/completions", json=REQUEST)

    assert ill.received == []


async def test_a_pod_recovers(site: Site) -> None:
    """A pod that fails its probes is unhealthy until it answers again."""
    pod = await site.pod("a")
    client = await site.gateway("a", health={"interval_s": 0.02})
    for healthy in (False, True):
        pod.healthy = healthy
        await until(lambda: health(client), {"a": healthy}.__eq__)


async def test_when_no_pod_answers_the_client_learns_what_was_tried(site: Site) -> None:
    """The answer is 503 in OpenAI's shape and names every pod with its failure; nothing stays counted."""
    await site.pod("a", answer=UNAVAILABLE)
    await site.pod("b", answer=b"")
    client = await site.gateway("a", "b")

    answer = await client.post("/v1/completions", json=REQUEST)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (503, "ServiceUnavailableError", 503)
    assert error["message"].startswith("no pod answered for model 'm': ")
    assert "a: status 503" in error["message"]
    assert "b: Disconnected" in error["message"]
    assert await running_on(client) == [0, 0]


async def test_no_ready_pod(site: Site) -> None:
    """A model whose pods are all not ready is known, but 503."""
    site.pods.append(Pod(name="a", model="m", host=ADDRESSES.next().host, ready=False))
    client = await site.gateway()

    answer = await client.post("/v1/completions", json=REQUEST)

    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "no pod answered for model 'm': none is ready"


@pytest.mark.parametrize("stalls", [False, True], ids=["breaks-off", "falls-silent"])
async def test_a_stream_that_breaks_off_is_seen_to(site: Site, *, stalls: bool) -> None:
    """A stream that cannot go on ends with a closed connection, so that it is not taken for complete."""
    await site.pod("a", answer=STREAM_BEGUN, stalls=stalls)
    client = await site.gateway("a", upstream={"idle_s": 0.2})

    async with client.stream("POST", "/v1/completions", json=REQUEST) as answer:
        chunks = answer.aiter_bytes()
        first = await anext(chunks)
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(chunks)

    assert first == b'data: {"choices": [{"text": "scr"}]}\n\n'
    assert await failures(client) == {"a": 1}


async def test_a_client_that_hangs_up_ends_the_request_at_the_pod(site: Site) -> None:
    """Hanging up mid-stream closes the connection to the pod and frees its place."""
    pod = await site.pod("a", answer=STREAM_BEGUN, stalls=True)
    client = await site.gateway("a")

    async with client.stream("POST", "/v1/completions", json=REQUEST) as answer:
        await anext(answer.aiter_bytes())

    await until(lambda: running_on(client), lambda running: pod.abandoned and running == [0])


async def test_headers_and_query_pass_both_ways(site: Site) -> None:
    """Request ids and the body pass as they are; what belongs to one connection does not."""
    pod = await site.pod("a")
    client = await site.gateway("a")
    sent = b'{"model":"m",  "prompt":[1]}'
    headers = {"x-request-id": "r-1", "authorization": "Bearer k", "connection": "x-own", "x-own": "1"}

    answer = await client.post("/v1/completions?verbose=1", content=sent, headers=headers)

    received = pod.received[0]
    assert (received.target, received.body) == ("/v1/completions?verbose=1", sent)
    assert received.headers["x-request-id"] == "r-1"
    assert received.headers["authorization"] == "Bearer k"
    assert received.headers["host"] == f"{pod_host(site)}:8000"
    assert "x-own" not in received.headers
    assert answer.headers["x-request-id"] == "r-1"
    assert "keep-alive" not in answer.headers


def pod_host(site: Site) -> str:
    """The address of the only pod."""
    return site.pods[0].host
