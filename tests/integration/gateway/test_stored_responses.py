"""Responses that are asked for again: only the pod that gave one has it."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.integration.gateway.test_gateway import Site

ASKED = {"model": "base", "input": "respond to this, please", "max_output_tokens": 3}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A place for simulated engines and a gateway."""
    async with AsyncExitStack() as stack:
        yield Site(stack)


def of(answer: httpx.Response) -> tuple[str, str]:
    """Return the id of a response, whole or streamed, and the pod that gave it."""
    text = answer.text
    body = json.loads(text[text.index("{") :].split("\n")[0])
    return (body.get("response") or body)["id"], answer.headers["x-kvsync-pod"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_is_found_where_it_was_given(site: Site, stream: bool) -> None:
    """Each is asked for at its own pod, and what goes on with it goes there, too."""
    for name in "ab":
        await site.engine(name)
    client = await site.gateway()
    # Equally good pods are drawn by lot: that all of these go to one happens once in eight million runs.
    prompts = [f"{each} is the number to respond to" for each in range(24)]
    asked = [{**ASKED, "stream": stream, "input": prompt} for prompt in prompts]
    given = [of(await client.post("/v1/responses", json=body)) for body in asked]

    again = [of(await client.get(f"/v1/responses/{name}")) for name, _ in given]
    on = [
        await client.post("/v1/responses", json={**ASKED, "previous_response_id": name}) for name, _ in given
    ]

    assert {pod for _, pod in given} == {"a", "b"}
    assert again == given
    assert [(each.status_code, of(each)[1]) for each in on] == [(200, pod) for _, pod in given]


async def test_a_response_is_its_clients_alone(site: Site) -> None:
    """For others with a key of the gateway there is no such response, and nothing goes on with it."""
    await site.engine("a")
    alice, bob = ({"x-api-key": f"{name}-0123456789abcdef"} for name in ("alice", "bob"))
    keys = {"alice": alice["x-api-key"], "bob": bob["x-api-key"]}
    client = await site.gateway(keys["alice"], access={"keys": keys})
    name, _ = of(await client.post("/v1/responses", json=ASKED, headers=alice))
    on = {**ASKED, "previous_response_id": name}

    statuses = [
        (await client.get(f"/v1/responses/{name}", headers=who)).status_code for who in (alice, bob)
    ] + [(await client.post("/v1/responses", json=on, headers=who)).status_code for who in (alice, bob)]

    assert statuses == [200, 404, 200, 404]


async def test_a_response_that_nobody_has(site: Site) -> None:
    """Is 404 in OpenAI's shape, and says why; also one that was not to be kept, or that is too old."""
    await site.engine("a")
    client = await site.gateway(routing={"stored_responses": 1})
    old, unkept, new = [
        of(await client.post("/v1/responses", json={**ASKED, "store": store}))[0]
        for store in (True, False, True)
    ]

    answers = [await client.get(f"/v1/responses/{name}") for name in ("resp_x", old, unkept, new)]
    answers.append(await client.post("/v1/responses/resp_x/cancel"))
    answers.append(await client.delete("/v1/responses/resp_x"))

    assert [each.status_code for each in answers] == [404, 404, 404, 200, 404, 404]
    assert answers[0].json()["error"]["type"] == "NotFoundError"
    assert "'resp_x' is not known: it was not answered through" in answers[0].json()["error"]["message"]


async def test_the_engine_s_own_words_about_a_response(site: Site) -> None:
    """What it does not serve, it refuses itself."""
    await site.engine("a")
    client = await site.gateway()
    name, _ = of(await client.post("/v1/responses", json=ASKED))

    refused = await client.delete(f"/v1/responses/{name}")

    assert (refused.status_code, refused.headers["x-kvsync-pod"]) == (405, "a")
