"""Which pods serve a name right now: adapters that were just loaded, engines that sleep."""

import pytest

from tests.integration.gateway.conftest import Site, until


async def test_an_adapter_that_was_just_loaded_is_served(site: Site) -> None:
    """The pods are asked again before a name is called unknown; a wrong one still is."""
    pod = await site.pod("a")
    client = await site.gateway("a")
    pod.adapters = ("poet",)

    served = await client.post("/v1/completions", json={"model": "poet", "prompt": [1]})
    wrong = await client.post("/v1/completions", json={"model": "nope", "prompt": [1]})

    assert [served.status_code, wrong.status_code] == [200, 404]
    assert wrong.json()["error"]["message"].endswith("unknown model 'nope'; valid: m, poet")
    assert len(pod.received) == 1


@pytest.mark.parametrize("setting", ["refuse", "forward"])
async def test_what_no_pod_lists_may_be_left_to_one(site: Site, setting: str) -> None:
    """Engines with a resolver load adapters when they are asked for them."""
    pod = await site.pod("a")
    client = await site.gateway("a", routing={"unlisted_models": setting})

    answer = await client.post("/v1/completions", json={"model": "lazy", "prompt": [1]})

    forwards = setting == "forward"
    assert (answer.status_code, len(pod.received)) == ((200, 1) if forwards else (404, 0))


async def test_an_engine_that_sleeps_gets_nothing(site: Site) -> None:
    """It is no candidate, also when there is no other, until it wakes up."""
    sleeper, request = await site.pod("a", asleep=True), {"model": "m", "prompt": [1]}
    client = await site.gateway("a", health={"interval_s": 0.1})

    refused = await client.post("/v1/completions", json=request)

    assert (refused.status_code, sleeper.received) == (503, [])
    assert (await client.get("/readyz")).text == "0 of 1 pods are ready, healthy and awake"
    sleeper.asleep = False
    await until(lambda: client.get("/readyz"), lambda answer: answer.is_success)
    assert (await client.post("/v1/completions", json=request)).status_code == 200
