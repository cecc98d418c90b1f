"""A pod that fails requests while its probes answer is left alone, at the real socket."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from kvsync.testing.doubles.upstream import UNAVAILABLE, WHOLE
from tests.integration.gateway.conftest import Site, until

REQUEST = {"model": "m", "prompt": [1, 2, 3]}


async def breaker(client: httpx.AsyncClient) -> str:
    """The state of the first pod's breaker; metrics and status agree on it unless its time just ended."""
    name = (await client.get("/status")).json()["pods"][0]["name"]
    states = [
        sample.labels["state"]
        for family in text_string_to_metric_families((await client.get("/metrics")).text)
        for sample in family.samples
        if sample.name == "kvsync_pod_breaker" and sample.labels["pod"] == name and sample.value
    ]
    return ",".join(states)


async def test_a_pod_that_fails_requests_is_left_alone(site: Site) -> None:
    """After two failures none of ten requests reaches the pod, though its probes answer."""
    bad = await site.pod("bad", answer=UNAVAILABLE)
    await site.pod("good")
    client = await site.gateway("bad", "good", upstream={"breaker": {"failures": 2, "open_s": 60}})
    while len(bad.received) < 2:
        await client.post("/v1/completions", json=REQUEST)

    answers = [await client.post("/v1/completions", json=REQUEST) for _ in range(10)]

    assert {answer.status_code for answer in answers} == {200}
    assert len(bad.received) == 2
    assert await breaker(client) == "open"
    assert (await client.get("/status")).json()["pods"][0]["breaker"] == "open"


async def test_a_trial_closes_the_breaker(site: Site) -> None:
    """Once its time is over one request tries the pod, and its answer makes it a candidate again."""
    pod = await site.pod("a", answer=UNAVAILABLE)
    client = await site.gateway("a", upstream={"breaker": {"failures": 1, "open_s": 0.1}})
    await client.post("/v1/completions", json=REQUEST)
    await until(lambda: breaker(client), "half_open".__eq__)
    pod.answer = WHOLE

    answer = await client.post("/v1/completions", json=REQUEST)

    assert answer.status_code == 200
    assert await breaker(client) == "closed"
