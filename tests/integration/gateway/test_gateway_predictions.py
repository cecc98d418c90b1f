"""What is predicted is compared with what engines report, and what comes of it is seen from outside."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from kvsync.config import GatewayConfig
from kvsync.gateway.server import running
from kvsync.pods import Pod
from kvsync.simulator import run as simulator
from kvsync.simulator.options import SimulatorOptions
from kvsync.simulator.pod import SimulatedPod
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES
from kvsync.testing.clusters.local.addresses import LoopbackBlock
from tests.integration.gateway.conftest import WITHIN_S

ADDRESSES = LoopbackBlock(f"predictions {os.getpid()}")


Json = dict[str, Any]


class Site:
    """A gateway in front of one simulated engine."""

    def __init__(self, engine: SimulatedPod, client: httpx.AsyncClient) -> None:
        self.engine, self.client = engine, client

    async def ask(self, blocks: int, **fields: object) -> tuple[int, int | None]:
        """Send a prompt of so many blocks, once all events are applied; returns predicted and reported."""
        await self.until(lambda pod: pod["sources"][0]["last"] == self._newest())
        body = {"model": "m", "prompt": list(range(16 * blocks + 1)), "max_tokens": 1, **fields}
        answer = (await self.client.post("/v1/completions", json=body)).raise_for_status()
        details = answer.json()["usage"]["prompt_tokens_details"]
        predicted = int(answer.headers["x-kvsync-predicted-cached-tokens"])
        return predicted, details and details["cached_tokens"]

    async def until(self, holds: Callable[[Json], bool]) -> Json:
        """Wait until something holds for what is said of the pod; returns that."""
        async with asyncio.timeout(WITHIN_S):
            while not holds(pod := (await self.client.get("/status")).json()["pods"][0]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return pod  # type: ignore[no-any-return]

    def _newest(self) -> int | None:
        newest = self.engine.publisher.next_sequence - 1
        return newest if newest >= 0 else None


async def open_site(stack: AsyncExitStack, options: Json, **settings: object) -> Site:
    """Start an engine with options, and a gateway with settings."""
    at, host = ADDRESSES.next(), ADDRESSES.next().host
    where = {"host": at.host, "port": at.port, "event_port": at.event_port, "replay_port": at.replay_port}
    given = {"time_scale": 0, "admin_port": at.admin_port, **where, **options}
    config = {
        "host": host,
        "pods": [Pod(name="a", model="m", **where)],  # type: ignore[arg-type]
        "health": {"interval_s": 0.1},
        "predictions": {"minimum": 4},
        **settings,
    }
    simulated = SimulatorOptions(name="a", model="m", **given)
    engine = await stack.enter_async_context(simulator.running(simulated))
    url = await stack.enter_async_context(running(GatewayConfig.model_validate(config)))
    client = await stack.enter_async_context(
        httpx.AsyncClient(base_url=url, timeout=10, verify=NO_CERTIFICATES)
    )
    site = Site(engine, client)
    await site.until(lambda pod: pod["healthy"] and pod["sources"][0]["state"] == "exact")
    return site


@pytest.fixture
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """An engine with the options that the test is parametrized with, and a gateway."""
    async with AsyncExitStack() as stack:
        yield await open_site(stack, getattr(request, "param", {}))


@pytest.mark.parametrize("site", [{"speculative": "eagle"}], indirect=True)
async def test_an_engine_with_eagle_is_recognised(site: Site) -> None:
    """It computes the last block of each hit again; after eight hits this is predicted, without a doubt."""
    answers: list[tuple[int, int | None]] = []
    for _ in range(12):
        answers.append(await site.ask(3))
        pod = await site.until(lambda pod: compared(pod) == len(answers))

    assert answers == [(0, 0), *[(48, 32)] * 8, *[(32, 32)] * 3]
    assert pod["predictions"]["recent"] == {"exact": 11, "over": 0, "under": 0}
    assert pod["predictions"]["recomputes_last_block"] is True
    assert pod["sources"][0]["state"] == "exact"


def compared(pod: Json) -> int:
    """How many predictions were compared with a report."""
    return sum(pod["predictions"][name] for name in ("exact", "over", "under"))


async def test_wrong_predictions_take_exact_away_until_they_are_right(site: Site) -> None:
    """An engine that forgot its cache without a word is noticed; one that says so is trusted at once."""
    await site.ask(3)
    await site.ask(3)
    cache = site.engine.engine.scheduler.cache
    for _ in range(4):
        cache.clear()  # announces nothing
        assert await site.ask(3) == (48, 0)

    pod = await site.until(lambda pod: pod["sources"][0]["state"] == "degraded")
    said = "4 of the last 5 predictions were wrong: 4 over, 0 under what the engine reports"
    assert (pod["sources"][0]["reason"], pod["predictions"]["doubt"]) == (said, said)
    assert 'kvsync_predictions_doubtful{pod="a"} 1.0' in (await site.client.get("/metrics")).text
    answer = await site.client.post("/v1/completions", json={"model": "m", "prompt": [1, 2]})
    assert answer.headers["x-kvsync-source-state"] == "degraded"

    site.engine.engine.clear()
    await site.until(lambda pod: pod["sources"][0]["state"] == "exact")


async def test_a_late_clear_is_noticed(site: Site) -> None:
    """vLLM tells of a reset only with its next step: the first prediction after it is over."""
    await site.ask(3)
    site.engine.engine.clear(late=True)

    assert await site.ask(3) == (48, 0)
    assert await site.ask(3) == (48, 48)
    await site.until(lambda pod: pod["predictions"]["over"] == 1)


@pytest.mark.parametrize("site", [{"details": "if-any"}], indirect=True)
async def test_a_field_that_is_left_out_means_none(site: Site) -> None:
    """Once an engine has reported cached tokens, an answer without them is compared, too."""
    await site.ask(2)
    await site.until(lambda pod: pod["predictions"]["exact"] == 0)
    await site.ask(2)
    await site.until(lambda pod: pod["predictions"]["exact"] == 1)
    assert await site.ask(2, cache_salt="new") == (0, None)
    await site.until(lambda pod: pod["predictions"]["exact"] == 2)


async def test_what_reads_no_cache_is_predicted_none_and_routed_by_load(site: Site) -> None:
    """A request for the prompt's logprobs is compared like any other; several answers are not."""
    await site.ask(2)

    assert await site.ask(2, prompt_logprobs=0) == (0, 0)
    assert await site.ask(2, echo=True, logprobs=1) == (0, 0)
    await site.until(lambda pod: pod["predictions"]["exact"] == 3)
    assert (await site.ask(2, n=2))[0] == 32
    await site.ask(2)
    await site.until(lambda pod: pod["predictions"]["exact"] == 4)
    text = (await site.client.get("/metrics")).text
    assert 'selection="least_request",status="200"} 3.0' in text


@pytest.mark.parametrize("site", [{"sliding_window": 40, "capacity": 24}], indirect=True)
async def test_hybrid_models_are_predicted_as_they_reuse(site: Site) -> None:
    """Where the window of a prefix was evicted, the engine computes it again, and that is foretold."""
    answers = [await site.ask(blocks, cache_salt=salt) for salt in "ababcab" for blocks in (9, 4, 11)]

    assert [reported for _, reported in answers] == [predicted for predicted, _ in answers]
    assert len({reported for _, reported in answers}) > 3


OLD = {"loras_as": "id", "extra_keys": "left-out", "loras": ("poet", "sql")}


@pytest.mark.parametrize("site", [OLD], indirect=True)
async def test_adapters_by_number_are_those_that_the_engine_lists(site: Site) -> None:
    """An engine that names adapters by their place alone is predicted by its own list."""
    await site.ask(3, model="sql")

    assert await site.ask(3, model="sql") == (48, 48)
    assert await site.ask(3, model="poet") == (0, 0)
    assert await site.ask(3) == (0, 0)


@pytest.mark.parametrize("site", [{"extra_keys": "left-out"}], indirect=True)
async def test_prompts_with_a_salt_find_blocks_whose_salt_was_not_announced(site: Site) -> None:
    """Engines before vLLM 0.17 do not say what they salted: the tokens alone decide."""
    await site.ask(3, cache_salt="s")

    assert await site.ask(3, cache_salt="s") == (48, 48)


@pytest.mark.parametrize(
    ("forwards", "counted"),
    [
        pytest.param(False, [], id="left-out"),
        pytest.param(True, ['kvsync_index_changes_total{effect="reannounced",pod="a"} 3.0'], id="forwarded"),
    ],
)
async def test_hits_are_announced_again_only_where_that_is_wanted(forwards: bool, counted: list[str]) -> None:
    """The argument that asks for it is not passed on; where it is, hits are told from copies."""
    async with AsyncExitStack() as stack:
        site = await open_site(stack, {"capacity": 12}, upstream={"forwards_report_mode": forwards})
        for salt in "ab":
            await site.ask(6, cache_salt=salt)
        await site.ask(3)
        asked = {"vllm_xargs": {"kv_cache_report_mode": "full", "other": 1}}
        assert await site.ask(4, **asked) == (48, 48)

        await site.ask(1)
        text = (await site.client.get("/metrics")).text
    assert [line for line in text.splitlines() if "reannounced" in line] == counted
