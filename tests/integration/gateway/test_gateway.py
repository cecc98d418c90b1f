"""The gateway between clients and simulated engines: tokens, events and requests over real sockets."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kvsync.config import GatewayConfig
from kvsync.gateway.server import running
from kvsync.pods import Pod
from kvsync.simulator import run as simulator
from kvsync.simulator.options import SimulatorOptions
from kvsync.simulator.pod import SimulatedPod as Engine
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES
from kvsync.testing.clusters.local.addresses import LoopbackBlock
from tests.integration.gateway.conftest import WITHIN_S

ADDRESSES = LoopbackBlock(f"gateway {os.getpid()}")


TOKENS = list(range(1000, 1064))
"""Four blocks."""

Json = dict[str, object]


class Site:
    """Simulated engines, and a gateway in front of them once it was opened."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.pods: list[Pod] = []
        self.engines: dict[str, Engine] = {}

    async def engine(self, name: str, model: str = "base", **options: object) -> Engine:
        """Start an engine that waits for nothing."""
        at = ADDRESSES.next()
        ports = {"port": at.port, "event_port": at.event_port, "replay_port": at.replay_port}
        given = {"time_scale": 0, "admin_port": at.admin_port, **ports, **options}
        settings = SimulatorOptions(name=name, model=model, host=at.host, **given)  # type: ignore[arg-type]
        self.engines[name] = await self.stack.enter_async_context(simulator.running(settings))
        self.pods.append(Pod(name=name, model=model, host=at.host, **ports))  # type: ignore[arg-type]
        return self.engines[name]

    async def gateway(self, key: str = "", **settings: object) -> httpx.AsyncClient:
        """Open a gateway for the engines; returns a client of it, with a key, once it knows all of them."""
        host = ADDRESSES.next().host
        given = {"host": host, "pods": self.pods, "health": {"interval_s": 0.1, "timeout_s": 10}, **settings}
        url = await self.stack.enter_async_context(running(GatewayConfig.model_validate(given)))
        client = await self.stack.enter_async_context(
            httpx.AsyncClient(
                base_url=url, timeout=10, headers={"x-api-key": key} if key else {}, verify=NO_CERTIFICATES
            )
        )
        await self.settled(client)
        return client

    async def settled(self, client: httpx.AsyncClient) -> Json:
        """Wait until all pods are healthy and every event they published is applied; returns the status."""

        async def status() -> Json | None:
            answer = (await client.get("/status")).json()
            known = {
                pod["name"]: [(source["state"], source["last"]) for source in pod["sources"]]
                for pod in answer["pods"]
                if pod["healthy"]
            }
            newest = {name: engine.publisher.next_sequence - 1 for name, engine in self.engines.items()}
            exact = {name: [("exact", last if last >= 0 else None)] for name, last in newest.items()}
            wanted = exact if answer["sync_enabled"] else {name: [] for name in newest}
            return answer if known == wanted else None

        return await until(status)


async def until(ask: Callable[[], Awaitable[Json | None]]) -> Json:
    """Ask until there is an answer."""
    async with asyncio.timeout(WITHIN_S):
        while not (answer := await ask()):  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)
    return answer


def routing(answer: httpx.Response) -> dict[str, str]:
    """What an answer's headers say of its routing."""
    return {
        name.removeprefix("x-kvsync-"): value
        for name, value in answer.headers.items()
        if name.startswith("x-kvsync-")
    }


def metric(text: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A place for engines and a gateway, torn down after the test."""
    async with AsyncExitStack() as stack:
        yield Site(stack)


async def test_a_burst_with_a_new_prefix_lands_on_few_pods(site: Site) -> None:
    """Requests follow the first of them before any event tells of it; predictions do not."""
    for name in "abcd":
        await site.engine(name, time_scale=1)
    client = await site.gateway()
    request = {"model": "base", "max_tokens": 2}

    burst = await asyncio.gather(
        *(client.post("/v1/completions", json={**request, "prompt": [*TOKENS, n]}) for n in range(8))
    )

    assert len({answer.headers["x-kvsync-pod"] for answer in burst}) <= 2
    early = [answer for answer in burst if answer.headers["x-kvsync-selection"] == "expected_prefix"]
    assert early
    assert {answer.headers["x-kvsync-predicted-cached-tokens"] for answer in early} == {"0"}


async def test_a_prompt_goes_where_its_prefix_is(site: Site) -> None:
    """A prompt is routed to the pod that holds it, and the cached tokens foretold are those reported."""
    for name in "abc":
        await site.engine(name)
    client = await site.gateway()
    request = {"model": "base", "prompt": TOKENS, "max_tokens": 2}

    first = await client.post("/v1/completions", json=request)
    await site.settled(client)
    longer = await client.post("/v1/completions", json={**request, "prompt": [*TOKENS, 1, 2]})
    again = await client.post("/v1/completions", json=request)

    assert routing(first) == {
        "pod": first.headers["x-kvsync-pod"],
        "selection": "least_request",
        "matched-blocks": "0",
        "predicted-cached-tokens": "0",
        "source-state": "exact",
    }
    assert routing(longer) == {
        "pod": first.headers["x-kvsync-pod"],
        "selection": "prefix_match",
        "matched-blocks": "4",
        "predicted-cached-tokens": "64",
        "source-state": "exact",
    }
    assert longer.json()["usage"]["prompt_tokens_details"] == {"cached_tokens": 64}
    assert routing(again)["predicted-cached-tokens"] == "48", "the engine computes the last block anew"
    assert again.json()["usage"]["prompt_tokens_details"] == {"cached_tokens": 48}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        pytest.param("/v1/completions", {"prompt": "It was the best of times " * 20}, id="text"),
        pytest.param(
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "It was the worst of times " * 20}]},
            id="chat",
        ),
        pytest.param("/v1/completions", {"prompt": TOKENS, "cache_salt": "s"}, id="salted"),
    ],
)
async def test_every_kind_of_prompt_finds_its_prefix(site: Site, path: str, fields: Json) -> None:
    """Text and conversations are made tokens as the engine does it; a salt is part of the prefix."""
    for name in "ab":
        await site.engine(name)
    client = await site.gateway()
    request = {"model": "base", "max_tokens": 1, **fields}

    first = await client.post(path, json=request)
    await site.settled(client)
    again = await client.post(path, json=request)

    assert (routing(again)["pod"], routing(again)["selection"]) == (routing(first)["pod"], "prefix_match")
    cached = again.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert routing(again)["predicted-cached-tokens"] == str(cached) != "0"


async def test_prefixes_of_adapters_and_salts_are_their_own(site: Site) -> None:
    """The same tokens under an adapter, another salt or another model are another prefix."""
    await site.engine("a", loras=("poet",))
    await site.engine("b", model="other")
    client = await site.gateway()
    for model, salt in (("base", None), ("poet", "s")):
        request = {"model": model, "prompt": TOKENS, "max_tokens": 1, "cache_salt": salt}
        await client.post("/v1/completions", json=request)
    await site.settled(client)

    async def matched(**fields: object) -> object:
        answer = await client.post("/index/query", json={"token_ids": TOKENS, **fields})
        return answer.json()["matched"]

    assert await matched(model="base") == {"a": 4}
    assert await matched(model="base", cache_salt="s") == {}
    assert await matched(model="poet") == {}
    assert await matched(model="poet", cache_salt="s") == {"a": 4}
    assert await matched(model="base", lora="poet", cache_salt="s") == {"a": 4}
    assert await matched(model="other") == {}


async def test_pods_of_different_block_sizes_serve_one_model(site: Site) -> None:
    """Each prompt is matched in every pod's own blocks, and the prediction is what that pod reports."""
    sizes = {"a": 16, "b": 32, "c": 1}
    for name, size in sizes.items():
        await site.engine(name, block_size=size, capacity=4096 // size)
    client = await site.gateway(routing={"imbalance_after": 0})
    prompts = [[number, *TOKENS] for number in range(30)]  # so many that each pod gets some
    for prompt in (*prompts, *prompts):
        request = {"model": "base", "prompt": prompt, "max_tokens": 1}
        answer = await client.post("/v1/completions", json=request)
        cached = answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert routing(answer)["predicted-cached-tokens"] == str(cached)
        status = await site.settled(client)

    assert {pod["name"]: pod["sources"][0]["block_size"] for pod in status["pods"]} == sizes  # type: ignore[attr-defined]
    counts = [pod["sources"][0]["blocks"] for pod in status["pods"]]  # type: ignore[attr-defined]
    assert all(counts)


async def test_a_stream_is_passed_on_as_it_comes(site: Site) -> None:
    """The first chunk arrives while the engine still works; hanging up then ends the request there, too."""
    engine = await site.engine("a", time_scale=1, inter_token_ms=20)
    client = await site.gateway()
    request = {"model": "base", "prompt": TOKENS, "max_tokens": 10_000, "stream": True}

    async with client.stream("POST", "/v1/completions", json=request) as answer:
        first = await anext(answer.aiter_text())
        status = (await client.get("/status")).json()

    assert first.startswith("data: {")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (status["pods"][0]["running"], len(engine.engine.scheduler.running)) == (1, 1)
    await _idle(client, engine)


async def test_hanging_up_before_an_answer_ends_the_request(site: Site) -> None:
    """A client that stops waiting for a whole answer frees the engine and is no longer counted."""
    engine = await site.engine("a", time_scale=1, inter_token_ms=20)
    client = await site.gateway()
    request = {"model": "base", "prompt": TOKENS, "max_tokens": 10_000}

    with pytest.raises(httpx.ReadTimeout):
        await client.post("/v1/completions", json=request, timeout=0.2)

    await _idle(client, engine)
    text = (await client.get("/metrics")).text
    assert metric(text, "kvsync_requests_total", status="disconnected") == 1


async def test_an_answer_has_to_begin(site: Site) -> None:
    """What does not begin within `answer_s`, streamed or not, is given up, though the pod answers probes."""
    await site.engine("a", time_scale=1, ttft_base_ms=300)
    client = await site.gateway(upstream={"answer_s": 0.1})
    request = {"model": "base", "prompt": TOKENS, "max_tokens": 1}

    whole = await client.post("/v1/completions", json=request)
    stream = await client.post("/v1/completions", json={**request, "stream": True})

    assert (whole.status_code, stream.status_code) == (503, 503)
    assert "a: no answer for 0." in stream.json()["error"]["message"]


async def _idle(client: httpx.AsyncClient, engine: Engine) -> None:
    async def status() -> Json | None:
        answer: Json = (await client.get("/status")).json()
        busy = answer["pods"][0]["running"] or engine.engine.scheduler.running  # type: ignore[index]
        return None if busy else answer

    await until(status)


async def test_concurrent_requests_spread_over_the_pods(site: Site) -> None:
    """Without a prefix the least loaded pod is chosen, counting requests from the moment they are routed."""
    for name in "abcd":
        await site.engine(name, time_scale=1, ttft_base_ms=200)
    client = await site.gateway()
    requests = [{"model": "base", "prompt": [n] * 20, "max_tokens": 1} for n in range(4)]

    answers = await asyncio.gather(*(client.post("/v1/completions", json=body) for body in requests))

    assert sorted(routing(answer)["pod"] for answer in answers) == ["a", "b", "c", "d"]


async def test_without_sync_requests_go_to_the_least_loaded(site: Site) -> None:
    """With events switched off nothing is known of prefixes, and status and headers say so."""
    await site.engine("a")
    client = await site.gateway(sync_enabled=False)
    request = {"model": "base", "prompt": TOKENS, "max_tokens": 1}

    for _ in range(2):
        answer = await client.post("/v1/completions", json=request)

    assert (routing(answer)["selection"], routing(answer)["source-state"]) == ("least_request", "blind")
    status = (await client.get("/status")).json()
    assert (status["sync_enabled"], status["index"], status["pods"][0]["sources"]) == (
        False,
        {"blocks": 0, "sources": 0, "bytes_estimated": 0},
        [],
    )


async def test_a_failing_tokenizer_costs_the_prefix_only(site: Site) -> None:
    """When no tokenizer answers, requests are routed by load and the failure is counted."""
    await site.engine("a")
    nobody = f"http://{ADDRESSES.next().host}:8000"
    client = await site.gateway(tokenizer={"kind": "remote", "endpoint": nobody})

    answer = await client.post("/v1/completions", json={"model": "base", "prompt": "hello", "max_tokens": 1})
    query = await client.post("/index/query", json={"model": "base", "prompt": "hello"})

    assert (answer.status_code, routing(answer)["selection"]) == (200, "least_request")
    assert metric((await client.get("/metrics")).text, "kvsync_tokenize_failures_total") == 1
    assert (query.status_code, query.json()["error"]["type"]) == (503, "ServiceUnavailableError")


async def test_index_dump_is_what_the_engine_holds(site: Site) -> None:
    """The dump of a pod lists the hashes of its block table; query and status agree with it."""
    engine = await site.engine("a")
    await site.engine("b")
    client = await site.gateway()
    for start in (0, 5000):
        body = {"model": "base", "prompt": range(start, start + 40), "max_tokens": 1}
        await client.post("/v1/completions", content=json.dumps(body, default=list))
    await site.settled(client)
    whole = (await client.get("/index/dump")).json()["sources"]
    part = (await client.get("/index/dump", params={"pod": "a"})).json()["sources"]
    none = (await client.get("/index/dump", params={"pod": "z"})).json()

    table = engine.blocks()["blocks"]
    assert [source["pod"] for source in whole] == ["a", "b"]
    assert part == whole[:1]
    assert none == {"sources": []}
    assert sorted(block["engine"] for block in part[0]["blocks"]) == sorted(row["hash"] for row in table)  # type: ignore[attr-defined]
    assert part[0]["digest"]["blocks"] == len(part[0]["blocks"])


async def test_status_and_metrics_agree_with_what_happened(site: Site) -> None:
    """Both show the pods, the state of every source, and what was routed."""
    await site.engine("a", loras=("poet",))
    client = await site.gateway()
    for _ in range(2):
        await client.post("/v1/completions", json={"model": "base", "prompt": TOKENS, "max_tokens": 1})
        status = await site.settled(client)
    text = (await client.get("/metrics")).text

    assert (status["warnings"], status["discovery"]) == ([], {"pods": 1, "problem": ""})
    pod = status["pods"][0]  # type: ignore[index]
    source = pod.pop("sources")[0]
    assert pod == {
        "name": "a",
        "model": "base",
        "host": site.pods[0].host,
        "ready": True,
        "healthy": True,
        "asleep": False,
        "problem": "",
        "breaker": "closed",
        "running": 0,
        "loras": ["poet"],
        "unnamed_loras": [],
        "predictions": pod["predictions"],
    }
    assert (source["rank"], source["state"], source["reason"], source["blocks"]) == (0, "exact", "", 4)
    assert (source["endpoint"], source["left_out"]) == (site.pods[0].endpoint(), {})
    assert (source["lag_batches"], source["connected"], source["errors"]) == (0, True, {})
    routed = {"model": "base", "selection": "prefix_match"}
    assert metric(text, "kvsync_requests_total", status="200", **routed) == 1
    assert (
        metric(
            text,
            "kvsync_routing_decisions_total",
            match_percent_bucket="76-100",
            source_state="exact",
            **routed,
        )
        == 1
    )
    assert metric(text, "kvsync_routing_seconds_count") == 2
    assert metric(text, "kvsync_source_state", pod="a", rank="0", state="exact") == 1
    assert metric(text, "kvsync_source_state", pod="a", rank="0") == 1
    assert metric(text, "kvsync_source_last_sequence", pod="a") == source["last"]
    assert metric(text, "kvsync_index_blocks", pod="a") == 4
    assert metric(text, "kvsync_events_total", pod="a", kind="stored") >= 1
    assert metric(text, "kvsync_replays_total", pod="a") >= 1
    assert metric(text, "kvsync_predictions_total", pod="a", outcome="exact") == 2
    assert metric(text, "kvsync_predicted_cached_tokens_total", pod="a") == 48
    assert metric(text, "kvsync_reported_cached_tokens_total", pod="a") == 48
    assert metric(text, "kvsync_recent_predictions", pod="a", outcome="exact") == 1
    assert metric(text, "kvsync_predictions_doubtful", pod="a") == 0


async def test_usage_of_a_stream_is_compared(site: Site) -> None:
    """The last chunk of a stream tells the cached tokens as well."""
    await site.engine("a")
    client = await site.gateway()
    request = {
        "model": "base",
        "prompt": TOKENS,
        "max_tokens": 30,
        "stream": True,
        "stream_options": {"include_usage": True},
    }

    answer = await client.post("/v1/completions", json=request)

    assert answer.text.endswith("data: [DONE]\n\n")
    text = (await client.get("/metrics")).text
    assert metric(text, "kvsync_predictions_total", pod="a", outcome="exact") == 1


async def test_models_are_those_of_all_pods(site: Site) -> None:
    """The list of models is the union over the pods, adapters with their parents."""
    await site.engine("a", loras=("poet",))
    await site.engine("b", model="other")
    client = await site.gateway()

    listing = (await client.get("/v1/models")).json()

    assert listing["object"] == "list"
    assert [(card["id"], card["parent"]) for card in listing["data"]] == [
        ("base", None),
        ("other", None),
        ("poet", "base"),
    ]


async def test_pods_come_and_go_with_the_file(site: Site, tmp_path: Path) -> None:
    """A pod added to the file is routed to and ready; without any the gateway is alive but not ready."""
    await site.engine("a")
    listed = json.dumps({"pods": [{"name": "a", "model": "base", "host": site.pods[0].host}]})
    file = tmp_path / "pods.json"
    file.write_text(listed)
    client = await site.gateway(pods=(), pods_file=file)
    assert (await client.get("/readyz")).status_code == 200

    _replace(file, '{"pods": []}')

    async def gone() -> Json | None:
        answer = await client.get("/readyz")
        return None if answer.is_success else {"text": answer.text}

    assert await until(gone) == {"text": "0 of 0 pods are ready, healthy and awake"}
    refused = await client.post("/v1/completions", json={"model": "base", "prompt": "a"})
    assert refused.status_code == 404
    assert (await client.get("/healthz")).status_code == 200
    _replace(file, listed)
    await site.settled(client)
    assert (await client.get("/readyz")).status_code == 200


def _replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        pytest.param(b"{", 400, "BadRequestError", "not valid JSON", id="malformed"),
        pytest.param(b'{"prompt": "a"}', 400, "BadRequestError", "`model`", id="no-model"),
        pytest.param(
            b'{"model": "x"}', 404, "NotFoundError", "unknown model 'x'; valid: base", id="unknown-model"
        ),
        pytest.param(
            b" " * (32 * 2**20 + 1), 413, "RequestEntityTooLargeError", "larger than", id="too-large"
        ),
    ],
)
async def test_refused(site: Site, body: bytes, status: int, kind: str, message: str) -> None:
    """What cannot be routed is refused as OpenAI's clients expect, and the gateway goes on."""
    await site.engine("a")
    client = await site.gateway()

    answer = await client.post("/v1/completions", content=body)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (status, kind, status)
    assert message in error["message"]
    assert (await client.get("/v2/nothing")).json()["error"]["type"] == "NotFoundError"
    assert (await client.get("/v1/completions")).json()["error"]["code"] == 405
    fine = await client.post("/v1/completions", json={"model": "base", "prompt": TOKENS, "max_tokens": 1})
    assert fine.status_code == 200
