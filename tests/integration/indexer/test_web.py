"""The indexer over HTTP, asked as clients of Mooncake's RFC and of Dynamo's indexer ask."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn

from kvsync.codec import encode
from kvsync.config import GatewayConfig
from kvsync.discovery import StaticDiscovery
from kvsync.events import BlockStored, EventBatch
from kvsync.hashing import block_hashes
from kvsync.indexer.listening import SignallessServer, listen
from kvsync.indexer.local import FollowingIndexer
from kvsync.indexer.registry import Registry
from kvsync.indexer.web import MAX_BODY_BYTES, IndexerApi
from kvsync.pods import Pod
from kvsync.publisher import Publisher
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES
from kvsync.testing.clusters.local.addresses import LoopbackBlock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.conftest import Background, Eventually

ADDRESSES = LoopbackBlock(f"indexer http {os.getpid()}")

TOKENS = list(range(1, 13))

FOREIGN = Pod(name="listed", model="other", host="127.0.0.1", event_port=1, replay_port=None)
"""What the settings list besides; nobody is there."""


@asynccontextmanager
async def serving(background: Background) -> AsyncIterator[httpx.AsyncClient]:
    """An indexer that serves HTTP within the block; gives a client of it."""
    config = GatewayConfig(pods=(FOREIGN,))
    registry = Registry(StaticDiscovery(config.pods))
    indexer = FollowingIndexer(config, registry)
    background(indexer.run())
    port = listen("127.0.0.1", 0)
    api = IndexerApi(indexer, registry).app()
    server = SignallessServer(uvicorn.Config(api, lifespan="off", log_config=None))
    serving = background(server.serve(sockets=[port]))
    url = f"http://127.0.0.1:{port.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False, verify=NO_CERTIFICATES) as client:
        yield client
    server.should_exit = True
    await serving


@asynccontextmanager
async def engine(background: Background) -> AsyncIterator[dict[str, Any]]:
    """An engine that has three blocks of four tokens; gives what registers it as rank 1."""
    at = ADDRESSES.next()
    live, replay = f"tcp://{at.host}:{at.event_port}", f"tcp://{at.host}:{at.replay_port}"
    stored = BlockStored(
        block_hashes=(1, 2, 3), parent_block_hash=None, token_ids=tuple(TOKENS), block_size=4
    )
    async with Publisher(endpoint=live, replay_endpoint=replay) as publisher:
        background(publisher.serve())
        publisher.publish(encode(EventBatch(ts=1.0, events=(stored,))))
        yield {
            "instance_id": 7,
            "endpoint": live,
            "replay_endpoint": replay,
            "type": "vLLM",
            "modelname": "m",
            "dp_rank": 1,
            "block_size": 4,
        }


async def test_a_publisher_is_registered_asked_about_and_taken_back(
    background: Background, eventually: Eventually
) -> None:
    """The answer has what clients of either kind read: tokens by tier and by rank."""
    async with serving(background) as client, engine(background) as registration:
        registered = await client.post("/register", json=registration)
        assert (registered.status_code, registered.json()["instance_id"]) == (201, "7")

        query = {"model": "m", "token_ids": [*TOKENS, 99], "block_size": 4, "tenant_id": "default"}
        answers: list[Any] = []

        async def ask() -> Any:
            answers.append((await client.post("/query", json=query)).json())
            return answers[-1]

        while (known := await ask())["states"] != {"7": {"1": "exact"}}:  # not yet, while the replay goes on
            assert len(answers) < 10_000
        assert known["scores"] == {"7": {"1": 12}}
        assert known["default"] == {
            "7": {"longest_matched": 12, "GPU": 12, "CPU": 0, "DISK": 0, "DP": {"1": 12}}
        }
        assert known["instances"] == {
            "7": {"longest_matched": 12, "gpu": 12, "cpu": 12, "disk": 12, "dp": {"1": 12}}
        }

        by_hash = {"model": "m", "own_hashes": block_hashes(TOKENS[:8], 4), "block_size": 4}
        assert (await client.post("/query_by_hash", json=by_hash)).json()["scores"] == {"7": {"1": 8}}
        workers = {each["instance_id"]: each["endpoints"] for each in (await client.get("/workers")).json()}
        assert workers == {"listed": {"0": "tcp://127.0.0.1:1"}, "7": {"1": registration["endpoint"]}}
        (dump,) = (await client.get("/dump", params={"instance_id": "7"})).json()["sources"]
        owns = {block["own"] for block in dump["blocks"]}
        assert owns == {f"{own:016x}" for own in block_hashes(TOKENS, 4)}
        assert 'kvsync_index_blocks{pod="7",rank="1"} 3.0' in (await client.get("/metrics")).text
        assert (await client.get("/health")).text == "alive"

        gone = await client.post("/unregister", json={"instance_id": 7, "dp_rank": 1})
        assert gone.json()["removed_instances"] == ["7|default|1"]
        while (await ask())["default"]:
            assert len(answers) < 20_000
        assert (await client.post("/unregister", json={"instance_id": 7})).status_code == 404


@pytest.mark.parametrize(
    ("route", "body", "said"),
    [
        ("register", {"instance_id": 1, "endpoint": "tcp://h:1"}, "model_name: is missing"),
        ("register", {"instance_id": 1, "modelname": "m", "endpoint": "tcp://*:1"}, "is no address"),
        ("register", {"instance_id": 1, "modelname": "m", "endpoint": "h:1"}, "tcp://HOST:PORT"),
        (
            "register",
            {"instance_id": 1, "modelname": "m", "endpoint": "tcp://h:1", "tenant_id": "t"},
            "tenants are kept apart by their salts",
        ),
        ("register", {"instance_id": 1, "modelname": "m", "endpoint": "tcp://a b:1"}, "tcp://HOST:PORT"),
        ("register", {"instance_id": None, "modelname": "m", "endpoint": "tcp://h:1"}, "instance_id: "),
        ("unregister", {"instance_id": None}, "instance_id: "),
        ("unregister", {"instance_id": 1, "dp_rank": "first"}, "dp_rank: "),
        ("query", {"model": "m"}, "token_ids: is missing"),
        ("query", {"model": "m", "token_ids": [2**32]}, "token_ids[0]"),
        ("query", {"model": "m", "token_ids": [1], "tenant_id": "t"}, "tenant_id"),
        ("query_by_hash", {"model": "m", "seq_hashes": [1]}, "give own_hashes"),
        ("query", [1], "no JSON object"),
    ],
)
async def test_what_cannot_be_done_is_refused(
    background: Background, route: str, body: object, said: str
) -> None:
    """With what is wrong and how to mend it."""
    async with serving(background) as client:
        answer = await client.post(f"/{route}", json=body)

        assert (answer.status_code, said in answer.json()["error"]) == (400, True), answer.text


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"token_ids":' + b"[" * 5000], ids=["deep", "unfinished"])
async def test_a_body_that_is_nested_too_deeply_is_refused(background: Background, body: bytes) -> None:
    """As any other that is no query."""
    async with serving(background) as client:
        answer = await client.post("/query", content=body)

        assert (answer.status_code, "no JSON" in answer.json()["error"]) == (400, True)


async def test_a_body_that_is_too_large_is_refused(background: Background) -> None:
    """Before all of it is in memory."""
    async with serving(background) as client:
        answer = await client.post("/query", content=b" " * (MAX_BODY_BYTES + 1))

        assert answer.status_code == 413
        assert f"larger than {MAX_BODY_BYTES} bytes" in answer.json()["error"]


async def test_other_methods_and_paths_are_refused_in_the_same_form(background: Background) -> None:
    """An object with `error`."""
    async with serving(background) as client:
        wrong, unknown = await client.get("/query"), await client.get("/nothing")

        assert (wrong.status_code, wrong.json(), wrong.headers["allow"]) == (
            405,
            {"error": "Method Not Allowed"},
            "POST",
        )
        assert (unknown.status_code, unknown.json()) == (404, {"error": "Not Found"})


async def test_an_instance_that_the_settings_list_is_not_replaced(background: Background) -> None:
    """What is known of it would be forgotten."""
    async with serving(background) as client:
        taken = {"instance_id": FOREIGN.name, "modelname": "m", "endpoint": "tcp://127.0.0.1:5557"}

        answer = await client.post("/register", json=taken)

        assert (answer.status_code, "is listed by the settings" in answer.json()["error"]) == (400, True)
        (only,) = (await client.get("/workers")).json()
        assert only == {"instance_id": FOREIGN.name, "endpoints": {"0": FOREIGN.endpoint()}}
