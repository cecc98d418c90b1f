"""How often a request that pods fail is sent again, at the real socket."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kvsync.testing.doubles.upstream import KEPT
from tests.integration.gateway.conftest import Site, until

REQUEST = {"model": "m", "prompt": [1, 2, 3]}


async def retries(client: httpx.AsyncClient) -> dict[tuple[str, str], float]:
    """How many requests were sent again, and how many were not, by kind and outcome."""
    return {
        (sample.labels["kind"], sample.labels["outcome"]): sample.value
        for family in text_string_to_metric_families((await client.get("/metrics")).text)
        for sample in family.samples
        if sample.name == "kvsync_retries_total"
    }


async def idle(client: httpx.AsyncClient) -> bool:
    """Whether the gateway counts no request as running, so that connections to pods are idle."""
    return not any(pod["running"] for pod in (await client.get("/status")).json()["pods"])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_kills_engines_is_seen_by_two(site: Site, *, stream: bool) -> None:
    """Of four engines that break off, two get the request, once each; the client learns why not more."""
    pods = [await site.pod(name, answer=b"") for name in "abcd"]
    client = await site.gateway(*"abcd")

    answer = await client.post("/v1/completions", json={**REQUEST, "stream": stream})

    assert answer.status_code == 503
    assert sorted(len(pod.received) for pod in pods) == [0, 0, 1, 1]
    assert "2 engines have seen the request" in answer.json()["error"]["message"]
    assert await retries(client) == {("next_pod", "made"): 1, ("next_pod", "enough_engines"): 1}


async def test_more_engines_may_see_a_request(site: Site) -> None:
    """How many is a setting."""
    pods = [await site.pod(name, answer=b"") for name in "abcd"]
    client = await site.gateway(*"abcd", upstream={"retries": {"engines": 3}})

    await client.post("/v1/completions", json=REQUEST)

    assert sorted(len(pod.received) for pod in pods) == [0, 1, 1, 1]


@pytest.mark.parametrize(("minimum", "status"), [(1, 200), (0, 503)], ids=["within", "over-budget"])
async def test_an_idle_connection_that_the_pod_closed(site: Site, *, minimum: int, status: int) -> None:
    """A request that met a connection just closed is sent again on a fresh one, if the budget allows it."""
    pod = await site.pod("a", answer=KEPT)
    client = await site.gateway("a", upstream={"retries": {"minimum": minimum, "share": 0}})
    await client.post("/v1/completions", json=REQUEST)
    await until(lambda: idle(client), bool)
    pod.drops_idle = True

    answer = await client.post("/v1/completions", json=REQUEST)

    assert answer.status_code == status
    assert len(pod.received) == 1 + minimum
    outcome = "made" if minimum else "over_budget"
    assert await retries(client) == {("resent", outcome): 1}
