"""Who is asked for the tokens of a text, with what, how often, and what it costs when there is no answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from kvsync.gateway.tokens import LONG_BYTES
from kvsync.testing.doubles.upstream import WHOLE
from tests.integration.gateway.conftest import Site
from tests.integration.gateway.test_gateway import Site as Engines

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "parameters": {"type": "object", "properties": {"zone": {"type": "string"}, "at": {}}},
        },
    }
]

CHAT = {
    "model": "base",
    "messages": [
        {"role": "user", "content": "where is the nearest station, and when does the next train leave?"}
    ],
    "max_tokens": 2,
}

_TOKENS = b'{"token_ids": [1, 2, 3]}'
TOKENS = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_TOKENS), _TOKENS)


@pytest.fixture
async def engines() -> AsyncIterator[Engines]:
    """A place for simulated engines and a gateway."""
    async with AsyncExitStack() as stack:
        yield Engines(stack)


@pytest.mark.parametrize("rendering", ["offered", "forbidden", "absent"])
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"tools": TOOLS}, id="tools"),
        pytest.param({"reasoning_effort": "low"}, id="reasoning_effort"),
        pytest.param({"documents": [{"title": "t", "text": "x" * 40}]}, id="documents"),
        pytest.param({"chat_template_kwargs": {"enable_thinking": False}}, id="arguments of the template"),
        pytest.param({"truncate_prompt_tokens": 40}, id="truncation"),
    ],
)
async def test_the_tokens_are_the_engine_s(
    engines: Engines, rendering: str, fields: dict[str, object]
) -> None:
    """As many cached tokens are predicted as the engine then reports, by either question."""
    await engines.engine("a", rendering=rendering)
    client = await engines.gateway()

    await client.post("/v1/chat/completions", json=CHAT | fields)
    await engines.settled(client)
    again = await client.post("/v1/chat/completions", json=CHAT | fields)

    reported = again.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert reported > 0
    assert again.headers["x-kvsync-predicted-cached-tokens"] == str(reported)


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        pytest.param({"api_key": "k"}, {}, id="of the gateway"),
        pytest.param({}, {"authorization": "Bearer k"}, id="of the client"),
    ],
)
async def test_an_engine_that_wants_a_key(
    engines: Engines, settings: dict[str, str], headers: dict[str, str]
) -> None:
    """It is asked for tokens with the client's key, or else with the gateway's; adapters need the latter."""
    await engines.engine("a", api_key="k", loras=("poet",))
    client = await engines.gateway(upstream=settings)
    question = {"model": "base", "prompt": "a text that has some tokens"}

    asked = await client.post("/index/query", json=question, headers=headers)
    adapter = await client.post("/index/query", json={**question, "model": "poet"}, headers=headers)

    (pod,) = (await client.get("/status")).json()["pods"]
    assert asked.status_code == 200
    assert adapter.status_code == (200 if settings else 404)
    assert pod["healthy"]
    assert ("set upstream.api_key" in pod["problem"]) is not bool(settings)


async def test_a_key_that_is_missing_is_said(engines: Engines) -> None:
    """Not as if the engine had failed."""
    await engines.engine("a", api_key="k")
    client = await engines.gateway()

    asked = await client.post("/index/query", json={"model": "base", "prompt": "a text"})

    assert asked.status_code == 503
    assert "answered 401: it wants a key" in asked.json()["error"]["message"]


async def test_a_tokenizer_that_does_not_answer_is_left_alone(site: Site) -> None:
    """The next one is asked, at once from then on; the request is answered."""
    silent = await site.pod("silent", answer=b"", stalls=True)
    good = await site.pod("good", answer=TOKENS)
    client = await site.gateway("silent", "good", tokenizer={"timeout_s": 1})
    prompts = [{"model": "m", "prompt": f"text {number}"} for number in range(9)]

    for prompt in prompts:
        assert (await client.post("/index/query", json=prompt)).json()["tokens"] == 3

    assert len(good.received) == 9
    assert len(silent.received) <= 1


async def test_a_long_text_that_takes_too_long_silences_nobody(site: Site) -> None:
    """Its tokens are not waited for; that says nothing about the tokenizer, which is asked for the next."""
    pod = await site.pod("a", answer=b"", stalls=True)
    client = await site.gateway("a", tokenizer={"timeout_s": 0.4})

    long = await client.post("/index/query", json={"model": "m", "prompt": "x " * LONG_BYTES})
    pod.answer, pod.stalls = TOKENS, False
    short = await client.post("/index/query", json={"model": "m", "prompt": "x"})

    assert (long.status_code, short.status_code) == (503, 200)


async def test_equal_questions_are_asked_once(site: Site) -> None:
    """Those that come while it is asked wait for the same answer."""
    pod = await site.pod("a", answer=TOKENS)
    client = await site.gateway("a")
    question = {"model": "m", "prompt": "one text"}

    asked = await asyncio.gather(*(client.post("/index/query", json=question) for _ in range(30)))

    assert {each.json()["tokens"] for each in asked} == {3}
    assert len(pod.received) == 1


async def test_images_are_not_sent_for_their_tokens(site: Site) -> None:
    """Blocks that hold them are not matched; the request itself is passed on."""
    pod = await site.pod("a")
    client = await site.gateway("a")
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

    answer = await client.post(
        "/v1/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": [image]}]}
    )

    assert answer.content == WHOLE.split(b"\r\n\r\n", 1)[1]
    assert [each.target for each in pod.received] == ["/v1/chat/completions"]


ABSENT = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("offers", [True, False], ids=["rendering", "no rendering"])
@pytest.mark.parametrize(
    ("path", "said"),
    [("/v1/responses", {"input": "hi"}), ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}]})],
)
async def test_responses_and_messages_are_rendered_or_nothing(
    site: Site, path: str, said: dict[str, object], offers: bool
) -> None:
    """Their tokens are asked for where the engine says them; `/tokenize` would not know what they mean."""
    pod = await site.pod("a", answer=TOKENS if offers else ABSENT)
    client = await site.gateway("a", sync_enabled=True)

    for _ in range(2):
        await client.post(path, json={"model": "m", **said})

    assert [each.target for each in pod.received] == [f"{path}/render", path, path]
