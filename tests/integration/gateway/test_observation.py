"""What operators see of requests: metrics by policy, a line for each, their ids, and why they went where."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

import kvsync
from kvsync.config import GatewayConfig
from kvsync.gateway.operation.explaining import lines
from kvsync.gateway.operation.logs import JsonLines
from kvsync.gateway.server import running
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES
from tests.integration.gateway.conftest import Site as Scripted
from tests.integration.gateway.conftest import until
from tests.integration.gateway.test_gateway import ADDRESSES, TOKENS, Site, metric

REQUEST = {"model": "base", "prompt": TOKENS, "max_tokens": 2}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A place for engines and a gateway, torn down after the test."""
    async with AsyncExitStack() as stack:
        yield Site(stack)


async def twice(site: Site, client: httpx.AsyncClient, **more: object) -> httpx.Response:
    """Send a prompt twice; returns the second answer."""
    await client.post("/v1/completions", json={**REQUEST, **more})
    await site.settled(client)
    return await client.post("/v1/completions", json={**REQUEST, **more})


async def test_tokens_and_times_are_counted_by_policy(site: Site) -> None:
    """What was cached, as predicted and as reported, is a share of the prompt tokens of the same requests."""
    await site.engine("a")
    client = await site.gateway(routing={"policy": "round_robin"})
    await twice(site, client)
    await client.post("/v1/completions", json={**REQUEST, "model": "unknown"})

    text = (await client.get("/metrics")).text

    where = {"model": "base", "policy": "round_robin"}
    at_pod = {**where, "pod": "a"}
    assert metric(text, "kvsync_prompt_tokens_total", reported="yes", **at_pod) == 2 * len(TOKENS)
    assert metric(text, "kvsync_cached_tokens_total", by="predicted", **at_pod) == len(TOKENS) - 16
    assert metric(text, "kvsync_cached_tokens_total", by="reported", **at_pod) == len(TOKENS) - 16
    assert metric(text, "kvsync_requests_total", selection="round_robin", status="200", **where) == 2
    for name in ("kvsync_request_duration_seconds", "kvsync_time_to_first_byte_seconds"):
        assert metric(text, f"{name}_count", **where) == 2
    assert metric(text, "kvsync_tokenize_seconds_count") == 2
    assert metric(text, "kvsync_build_info", version=kvsync.__version__) == 1
    assert metric(text, "kvsync_index_bytes") > 4 * 72
    assert (await client.get("/status")).json()["version"] == kvsync.__version__


async def test_each_request_is_one_line(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """With what routed it, as text and as JSON, and by the id that client, engine and log share."""
    await site.engine("a")
    caplog.set_level(logging.INFO, "kvsync.access")
    client = await site.gateway()

    answer = await twice(site, client)
    named = await client.post("/v1/completions", json=REQUEST, headers={"X-Request-Id": "mine-7"})
    bad = await client.post("/v1/completions", json=REQUEST, headers={b"X-Request-Id": "ä".encode()})
    refused = await client.post("/v1/completions", content=b"{")
    await client.get("/metrics")
    await client.post("/index/query", json=REQUEST)

    records = [record for record in caplog.records if record.name == "kvsync.access"]
    ids = [each.headers["x-request-id"] for each in (answer, named, bad, refused)]
    assert ids[1] == "mine-7"
    assert len({*ids}) == 4
    assert "ä" not in ids[2]
    shown = [json.loads(JsonLines().format(record)) for record in records]
    assert [line["request_id"] for line in shown[1:]] == ids
    second = shown[1]
    assert second["pod"] == "a"
    assert (second["selection"], second["policy"], second["source_state"]) == (
        "prefix_match",
        "prefix",
        "exact",
    )
    assert (second["status"], second["prompt_tokens"], second["matched_blocks"]) == (200, len(TOKENS), 4)
    assert (second["predicted_cached_tokens"], second["reported_cached_tokens"]) == (48, 48)
    assert 0 < second["first_byte_ms"] <= second["duration_ms"]
    assert (shown[-1]["status"], shown[-1].get("pod")) == (400, None)
    assert (
        records[1].getMessage().startswith("POST /v1/completions 200 model=base pod=a selection=prefix_match")
    )


async def test_what_is_asked_of_a_response_is_a_line_too(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """With the pod that keeps it; so is what is refused. Looking up models and states is none."""
    await site.engine("a")
    caplog.set_level(logging.INFO, "kvsync.access")
    client = await site.gateway()

    given = await client.post("/v1/responses", json={"model": "base", "input": "hello"})
    await client.get(f"/v1/responses/{given.json()['id']}")
    await client.get("/v1/responses/resp_x")
    for path in ("/v1/models", "/readyz", "/status"):
        await client.get(path)

    shown = [
        json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "kvsync.access"
    ]
    assert [(line["method"], line["status"], line.get("pod")) for line in shown] == [
        ("POST", 200, "a"),
        ("GET", 200, "a"),
        ("GET", 404, None),
    ]


async def test_a_client_that_hangs_up_before_its_request_is_whole(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Is a line that says so: there is no status."""
    caplog.set_level(logging.INFO, "kvsync.access")
    await site.engine("a")
    client = await site.gateway()

    _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: gateway\r\nContent-Length: 9\r\n\r\n{")
    await writer.drain()
    writer.close()

    async def lines() -> list[str]:
        return [each.getMessage() for each in caplog.records if each.name == "kvsync.access"]

    await until(lines, lambda said: any("outcome=disconnected" in line for line in said))


@pytest.mark.parametrize(
    ("given", "kept"),
    [(["mine"], "mine"), ([], None), (["a", "b"], None), (["x" * 129], None), ([""], None)],
    ids=["one", "none", "two", "too long", "empty"],
)
async def test_an_engine_gets_the_id_of_a_request(given: list[str], kept: str | None) -> None:
    """The client's or, where that is none, a new one; the answer has it, whatever the engine says."""
    async with AsyncExitStack() as stack:
        scripted = Scripted(stack)
        pod = await scripted.pod("a")
        client = await scripted.gateway("a")

        headers = [("x-request-id", each) for each in given]
        answer = await client.post("/v1/completions", json={"model": "m", "prompt": [1]}, headers=headers)

    (received,) = pod.received
    assert answer.headers.get_list("x-request-id") == [received.headers["x-request-id"]]
    assert received.headers["x-request-id"] == kept if kept else len(received.headers["x-request-id"]) == 32


@pytest.mark.parametrize("asks", [False, True], ids=["not asked for", "asked for"])
async def test_streams_without_usage_are_counted_if_engines_are_asked(site: Site, asks: bool) -> None:
    """The client gets the stream that it asked for, byte for byte of the same shape, in either case."""
    await site.engine("a")
    client = await site.gateway(upstream={"asks_for_usage": asks})
    streamed = await twice(site, client, stream=True)
    full = await client.post(
        "/v1/completions", json={**REQUEST, "stream": True, "stream_options": {"include_usage": True}}
    )

    text = (await client.get("/metrics")).text

    assert b'"usage": {' not in streamed.content.replace(b'"usage":{', b'"usage": {')
    assert streamed.content.endswith(b"data: [DONE]\n\n")
    assert b"prompt_tokens" in full.content
    counted = 3 if asks else 1
    assert metric(text, "kvsync_prompt_tokens_total", pod="a", reported="yes") == counted * len(TOKENS)
    assert metric(text, "kvsync_predictions_total", pod="a") == counted


async def test_engines_own_gauges_are_shown_and_believed(site: Site) -> None:
    """Requests that came past this gateway weigh as its own do."""
    await site.engine("a", time_scale=1, inter_token_ms=200)
    await site.engine("b")
    client = await site.gateway(routing={"engine_load_s": 0.05})
    long = {"model": "base", "prompt": [1, 2, 3], "max_tokens": 500}
    async with httpx.AsyncClient(verify=NO_CERTIFICATES) as others:
        url = f"{site.pods[0].url}/v1/completions"
        running = [asyncio.create_task(others.post(url, json=long)) for _ in range(12)]

        async def explained() -> dict[str, int]:
            answer = (await client.post("/index/explain", json={"model": "base", "prompt": [9]})).json()
            return {each["pod"]: each["running"] for each in answer["candidates"]}

        await until(explained, {"a": 12, "b": 0}.__eq__)
        text = (await client.get("/metrics")).text
        answer = await client.post("/v1/completions", json={**REQUEST, "max_tokens": 1})
        for task in running:
            task.cancel()

    assert metric(text, "kvsync_pod_engine_requests", pod="a") == 12
    assert metric(text, "kvsync_pod_running_requests", pod="a") == 0
    assert (answer.headers["x-kvsync-pod"], answer.headers["x-kvsync-selection"]) == ("b", "load_imbalance")


async def test_a_decision_is_explained(site: Site) -> None:
    """Tokens, blocks, what each pod holds, its load, and the rule, without a request to any pod."""
    for name in "ab":
        await site.engine(name)
    client = await site.gateway(routing={"expected_s": 0})
    holder = (await twice(site, client)).headers["x-kvsync-pod"]
    dump = (await client.get("/index/dump", params={"pod": holder})).json()
    before = sum(engine.publisher.next_sequence for engine in site.engines.values())

    said = (await client.post("/index/explain", json={**REQUEST, "prompt": [*TOKENS, 7]})).json()

    other = {"a": "b", "b": "a"}[holder]
    assert (said["order"], said["selection"], said["predicted_cached_tokens"]) == (
        [holder, other],
        "prefix_match",
        64,
    )
    assert said["token_ids"] == [*TOKENS, 7]
    assert sorted(said["blocks"]["16"]) == sorted(block["own"] for block in dump["sources"][0]["blocks"])
    assert [(each["pod"], each["matched_blocks"], each["counts"]) for each in said["candidates"]] == [
        (holder, 4, 64),
        (other, 0, 0),
    ]
    assert sum(engine.publisher.next_sequence for engine in site.engines.values()) == before
    assert [*lines(said)] == [
        "model base: 65 tokens, 4 blocks of 16",
        f"goes to {holder} (prefix_match), predicted cached tokens: 64",
        f"then to {other}",
        "a prefix counts up to 0.0 running requests, an expected one up to 4",
        f"  {holder} (exact, 0 running): holds 4 blocks, of which it would reuse 64 tokens",
        f"  {other} (exact, 0 running): holds none of the prompt: its load decides",
    ]


async def test_aibrix_names_are_shown_unless_they_are_not_wanted(site: Site) -> None:
    """They say what the gateway's own metrics say."""
    await site.engine("a")
    client = await site.gateway()
    await twice(site, client)
    text = (await client.get("/metrics")).text

    assert metric(text, "aibrix_kvcache_zmq_connection_status", pod_key="a") == 1
    assert metric(text, "aibrix_kvcache_zmq_last_sequence_id", pod_key="a") == metric(
        text, "kvsync_source_last_sequence", pod="a"
    )
    assert metric(text, "aibrix_kvcache_zmq_events_received_total", pod_key="a") == metric(
        text, "kvsync_events_total", pod="a"
    )
    decisions = {"model": "base", "using_kv_sync": "true"}
    assert metric(text, "aibrix_prefix_cache_routing_decisions_total", **decisions) == 2
    assert metric(text, "aibrix_prefix_cache_routing_decisions_total", match_percent_bucket="76-100") == 1
    assert metric(text, "aibrix_prefix_cache_routing_selection_total", selection="prefix_match") == 1
    assert metric(text, "aibrix_prefix_cache_routing_latency_seconds_count") == 2

    without = await site.gateway(metrics={"aibrix_names": False})
    assert "aibrix_" not in (await without.get("/metrics")).text


async def test_the_command_explains_what_the_gateway_says(site: Site, tmp_path: Path) -> None:
    """It prints lines for people, and says what is wrong when it cannot."""
    await site.engine("a")
    client = await site.gateway()
    request = tmp_path / "completion.json"
    request.write_text(json.dumps(REQUEST))

    async def explain(gateway: str, *, file: Path = request, key: str = "") -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kvsync", "explain", str(file), "--gateway", gateway),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "KVSYNC_KEY": key},
        )
        said, _ = await process.communicate()
        return process.returncode, said.decode()

    status, said = await explain(str(client.base_url))
    assert (status, said.splitlines()[1]) == (0, "goes to a (least_request), predicted cached tokens: 0")
    status, said = await explain("http://127.0.0.1:9")
    assert status == 2
    assert "http://127.0.0.1:9/index/explain: " in said
    status, said = await explain("http://127.0.0.1:9", file=tmp_path / "none.json")
    assert (status, said.splitlines()[1:]) == (
        2,
        [f"{tmp_path}/none.json cannot be read: No such file or directory"],
    )

    keys = {"alice": "alice-0123456789"}
    given = {"host": ADDRESSES.next().host, "pods": site.pods, "access": {"keys": keys}}
    async with running(GatewayConfig.model_validate(given)) as guarded:
        refused = await explain(guarded)
        assert (refused[0], "in the variable KVSYNC_KEY" in refused[1]) == (2, True)
        async with httpx.AsyncClient(base_url=guarded, timeout=10, verify=NO_CERTIFICATES) as probe:
            await until(lambda: probe.get("/readyz"), lambda answer: answer.is_success)
        assert (await explain(guarded, key=keys["alice"]))[0] == 0
