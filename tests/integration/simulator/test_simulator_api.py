"""The simulator's OpenAI interface over real HTTP."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import httpx
import pytest

from kvsync.simulator.pod import SimulatedPod

SLOW_MS = 3_600_000
"""A time that no test waits for."""

Simulate = Callable[..., Awaitable[tuple[SimulatedPod, httpx.AsyncClient]]]
Eventually = Callable[[Callable[[], object]], Awaitable[None]]


async def complete(client: httpx.AsyncClient, **body: object) -> dict[str, object]:
    """The whole answer of /v1/completions, which must succeed."""
    answer = await client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    parsed: dict[str, object] = answer.json()
    return parsed


async def streamed(client: httpx.AsyncClient, path: str, **body: object) -> list[str]:
    """The data of each server-sent event."""
    async with client.stream("POST", path, json={**body, "stream": True}) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = [line async for line in answer.aiter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    return [line.removeprefix("data: ") for line in lines]


async def test_completion_is_openais(simulate: Simulate) -> None:
    """A whole answer has every field that the official client demands."""
    _, client = await simulate()

    answer = await complete(client, model="base", prompt="once upon a time there was", max_tokens=4)

    assert isinstance(answer.pop("created"), int)
    assert answer == {
        "id": "cmpl-0",
        "object": "text_completion",
        "model": "base",
        "choices": [
            {"index": 0, "text": "ndou", "logprobs": None, "finish_reason": "length", "stop_reason": None}
        ],
        "usage": {
            "prompt_tokens": 26,
            "completion_tokens": 4,
            "total_tokens": 30,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


async def test_stream_carries_the_same_answer(simulate: Simulate) -> None:
    """Chunks add up to the whole answer; the usage comes when asked for; the end is marked."""
    _, client = await simulate()
    body: dict[str, object] = {"prompt": "once upon a time there was", "max_tokens": 4}

    *chunks, usage, end = await streamed(
        client, "/v1/completions", **body, stream_options={"include_usage": True}
    )

    choices = [json.loads(chunk)["choices"][0] for chunk in chunks]
    assert "".join(choice["text"] for choice in choices) == "ndou"
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "length"]
    assert (json.loads(usage)["choices"], json.loads(usage)["usage"]["total_tokens"]) == ([], 30)
    assert end == "[DONE]"


async def test_chat_stream_opens_with_the_role(simulate: Simulate) -> None:
    """The first chunk of a chat names the assistant, the following ones add content."""
    _, client = await simulate()

    *chunks, end = await streamed(
        client, "/v1/chat/completions", messages=[{"role": "user", "content": "hi"}], max_tokens=2
    )

    bodies = [json.loads(chunk) for chunk in chunks]
    assert {body["object"] for body in bodies} == {"chat.completion.chunk"}
    deltas = [body["choices"][0]["delta"] for body in bodies]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": " "}, {"content": "y"}]
    assert end == "[DONE]"


async def test_next_turn_of_a_chat_finds_the_answer_in_the_cache(simulate: Simulate) -> None:
    """A conversation that goes on reuses prompt and answer of the turn before."""
    _, client = await simulate()
    messages = [{"role": "user", "content": "tell me a story about a block that was lost"}]
    first = (await client.post("/v1/chat/completions", json={"messages": messages, "max_tokens": 40})).json()
    messages += [first["choices"][0]["message"], {"role": "user", "content": "and then?"}]

    second = (await client.post("/v1/chat/completions", json={"messages": messages})).json()

    assert first["usage"]["total_tokens"] == 101
    assert second["usage"]["prompt_tokens_details"] == {"cached_tokens": 96}


async def test_several_prompts_are_answered_at_once(simulate: Simulate) -> None:
    """Choices are numbered by prompt, then by copy."""
    _, client = await simulate()

    answer = await complete(client, prompt=[[1, 2, 3], "x"], n=2, max_tokens=3)

    choices = answer["choices"]
    assert isinstance(choices, list)
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert choices[0]["text"] == choices[1]["text"] != choices[2]["text"]


async def test_long_list_of_ids_works_and_is_cached(simulate: Simulate) -> None:
    """Fifty thousand ids in one body are computed in chunks, and found again."""
    pod, client = await simulate(capacity=4096)
    prompt = [position * 7919 % 150_000 for position in range(50_000)]

    usages = [(await complete(client, prompt=prompt, max_tokens=1))["usage"] for _ in range(2)]

    assert [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages] == [0, 49_984]  # type: ignore[index]
    assert pod.publisher.next_sequence == 7 + 1


@pytest.mark.parametrize(
    ("path", "content", "status", "message"),
    [
        ("/v1/completions", b'{"prompt": "a", "model": "gone"}', 404, "The model `gone` does not exist."),
        ("/v1/chat/completions", b'{"model": "gone", "messages": [{"role": "user"}]}', 404, "does not exist"),
        ("/tokenize", b'{"prompt": "a", "model": "gone"}', 404, "does not exist"),
        ("/v1/completions", b'{"prompt', 400, "the body is not JSON: "),
        ("/v1/completions", b"\xff\xfe", 400, "the body is not JSON: "),
        ("/v1/completions", b"[" * 100_000, 400, "the body is not JSON: "),
        ("/v1/completions", b"", 400, "the body is not JSON: "),
        ("/v1/completions", b"[]", 400, "the body must be a JSON object"),
        (
            "/v1/completions",
            b'{"prompt": "aaaaaaaaaaaaaaaaaaaa"}',
            400,
            "maximum context length is 16 tokens",
        ),
        ("/tokenize", b"{}", 400, "prompt must be a text"),
        ("/detokenize", b'{"tokens": "a"}', 400, "tokens must be a list of token ids"),
    ],
    ids=[
        *("unknown model", "unknown model in chat", "unknown model to tokenize", "cut short", "not UTF-8"),
        *("nested", "empty", "list", "too long", "nothing to tokenize", "nothing to detokenize"),
    ],
)
async def test_errors_are_openais(
    simulate: Simulate, path: str, content: bytes, status: int, message: str
) -> None:
    """Every refusal has the shape that OpenAI clients read, and the engine lives on."""
    _, client = await simulate(max_model_len=16)

    answer = await client.post(path, content=content)

    assert answer.status_code == status
    error = answer.json()["error"]
    assert message in error["message"]
    assert error["code"] == status
    assert (await client.get("/health")).status_code == 200


async def test_models_are_listed(simulate: Simulate) -> None:
    """The base model and its adapters, each with its parent."""
    _, client = await simulate(loras=("sql",))

    models = (await client.get("/v1/models")).json()["data"]

    assert [(model["id"], model["parent"]) for model in models] == [("base", None), ("sql", "base")]


async def test_text_and_conversations_are_tokenized(simulate: Simulate) -> None:
    """/tokenize gives the ids that the engine itself would use, and /detokenize the text."""
    _, client = await simulate()

    text = (await client.post("/tokenize", json={"model": "base", "prompt": "hi"})).json()
    chat = (await client.post("/tokenize", json={"messages": [{"role": "user", "content": "hi"}]})).json()
    back = (await client.post("/detokenize", json={"tokens": text["tokens"]})).json()

    assert text == {"count": 2, "max_model_len": 16_384, "tokens": [104, 105]}
    assert chat["count"] == len(chat["tokens"]) == 20
    assert back == {"prompt": "hi"}


async def test_version_is_that_of_the_imitated_release(simulate: Simulate) -> None:
    """Clients that ask for the version see vLLM's."""
    _, client = await simulate()

    assert (await client.get("/version")).json() == {"version": "0.26.0"}


async def test_metrics_have_vllms_names_and_values(simulate: Simulate) -> None:
    """What was asked and found is counted under the names that scrapers know."""
    _, client = await simulate()
    for _ in range(2):
        await complete(client, prompt="a prompt of thirty-two characters", max_tokens=2)

    page = (await client.get("/metrics")).text.splitlines()

    for sample in (
        'vllm:num_requests_running{engine="0",model_name="base"} 0',
        'vllm:num_requests_waiting{engine="0",model_name="base"} 0',
        'vllm:kv_cache_usage_perc{engine="0",model_name="base"} 0',
        'vllm:prefix_cache_queries_total{engine="0",model_name="base"} 66',
        'vllm:prefix_cache_hits_total{engine="0",model_name="base"} 32',
        'vllm:prompt_tokens_total{engine="0",model_name="base"} 66',
        'vllm:generation_tokens_total{engine="0",model_name="base"} 4',
        'vllm:request_success_total{finished_reason="length",engine="0",model_name="base"} 2',
        'vllm:time_to_first_token_seconds_count{engine="0",model_name="base"} 2',
        'vllm:inter_token_latency_seconds_bucket{le="+Inf",engine="0",model_name="base"} 2',
        'vllm:e2e_request_latency_seconds_count{engine="0",model_name="base"} 2',
    ):
        assert sample in page
    assert page[-1].startswith('vllm:cache_config_info{block_size="16",')
    assert page[-1].endswith('num_gpu_blocks="1024"} 1')


async def test_reset_empties_the_cache(simulate: Simulate) -> None:
    """After /reset_prefix_cache nothing is found any more."""
    _, client = await simulate()
    prompt = "a prompt of thirty-two characters"
    await complete(client, prompt=prompt)

    assert (await client.post("/reset_prefix_cache")).status_code == 200

    usage = (await complete(client, prompt=prompt))["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}  # type: ignore[index]


async def test_documents_are_known_to_the_chat_and_not_to_tokenize(simulate: Simulate) -> None:
    """As with vLLM, /tokenize tells a prompt without them, which is another one."""
    _, client = await simulate()
    chat = {"messages": [{"role": "user", "content": "hi"}], "documents": [{"text": "d"}], "max_tokens": 1}

    told = (await client.post("/tokenize", json=chat)).json()["count"]
    used = (await client.post("/v1/chat/completions", json=chat)).json()["usage"]["prompt_tokens"]

    assert told == 20 < used


async def test_a_key_is_asked_for_below_v1(simulate: Simulate) -> None:
    """As with vLLM's --api-key, health and tokenizing are open to all."""
    _, client = await simulate(api_key="k")
    with_key = {"authorization": "Bearer k"}

    assert (await client.get("/v1/models")).status_code == 401
    assert (await client.get("/v1/models", headers=with_key)).status_code == 200
    assert (await client.post("/tokenize", json={"prompt": "hi"})).status_code == 200


@pytest.mark.parametrize(
    ("details", "told"),
    [("always", [0, 32]), ("if-any", [None, 32]), ("never", [None, None])],
)
async def test_cached_tokens_may_be_left_out(
    simulate: Simulate, details: str, told: list[int | None]
) -> None:
    """A usage says how many tokens were cached always, if there are any, or never."""
    _, client = await simulate(details=details)
    prompt = "a prompt of thirty-two characters"
    usages = [(await complete(client, prompt=prompt))["usage"] for _ in range(2)]

    found = [usage["prompt_tokens_details"] for usage in usages]  # type: ignore[index]
    assert [each and each["cached_tokens"] for each in found] == told


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_client_that_goes_away_frees_its_blocks(
    simulate: Simulate, eventually: Eventually, stream: bool
) -> None:
    """A request whose connection is closed does not go on in the engine."""
    pod, client = await simulate(time_scale=1, inter_token_ms=SLOW_MS)
    body = {"prompt": "a prompt of thirty-two characters", "stream": stream}
    request = asyncio.create_task(client.post("/v1/completions", json=body))
    await eventually(lambda: pod.engine.metrics.generation_tokens == 1)
    assert pod.engine.scheduler.cache.free_blocks == 1021

    request.cancel()

    await eventually(lambda: pod.engine.scheduler.cache.free_blocks == 1024)
    assert pod.engine.metrics.finished == {"abort": 1}
