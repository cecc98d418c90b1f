"""Gateways that are replaced under traffic, before engines whose rings hold 20 steps: what is forgotten?"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
import pytest

from kvsync.config import GatewayConfig
from kvsync.gateway.server import running
from kvsync.snapshots.folder import SUFFIX
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES
from tests.integration.gateway.conftest import ADDRESSES, until
from tests.integration.gateway.test_gateway import Site

ENGINES, RING = 4, 20

PREFIX_TOKENS, PREFIXES = 160, 40
"""Ten blocks each, and some ten prefixes for each engine."""

RNG = random.Random(17)

PROMPTS = [[RNG.randrange(50_000) for _ in range(PREFIX_TOKENS + 1)] for _ in range(PREFIXES)]


@dataclass(frozen=True)
class Hits:
    """Prompt tokens of some requests, and how many of them the engines had cached."""

    cached: int
    tokens: int

    @property
    def rate(self) -> float:
        """The share."""
        return self.cached / self.tokens

    def __str__(self) -> str:
        return f"{self.cached} of {self.tokens} tokens cached ({100 * self.rate:.0f} %)"


class Fleet(Site):
    """Engines with short rings, and gateways that come and go."""

    others = count(60_000)

    @asynccontextmanager
    async def opened(self, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
        """Run a gateway within the block; gives a client once it is ready and knows what it can know."""
        host = ADDRESSES.next().host
        given = {"host": host, "pods": self.pods, "health": {"interval_s": 0.1}, **settings}
        async with (
            running(GatewayConfig.model_validate({"readiness": {"known_share": 1}} | given)) as url,
            httpx.AsyncClient(base_url=url, timeout=10, verify=NO_CERTIFICATES) as client,
        ):

            async def ready() -> bool:
                return (await client.get("/readyz")).is_success

            await until(ready, bool)
            await self.caught_up(client)
            yield client

    async def caught_up(self, client: httpx.AsyncClient) -> None:
        """Wait until a gateway has every event that engines have published by now; traffic goes on."""

        async def missing() -> list[str]:
            pods = (await client.get("/status")).json()["pods"]
            last = {pod["name"]: pod["sources"][0]["last"] for pod in pods}
            known = {name: -1 if number is None else number for name, number in last.items()}
            return [name for name, by_now in newest.items() if known[name] < by_now]

        newest = {name: engine.publisher.next_sequence - 1 for name, engine in self.engines.items()}
        await until(missing, lambda names: not names)

    async def beside(self, steps: int) -> None:
        """Let each engine work for others, without the gateway."""
        async with httpx.AsyncClient(verify=NO_CERTIFICATES) as client:
            for pod in self.pods:
                for _ in range(steps):
                    body = {"model": "base", "prompt": [next(self.others)] * 17, "max_tokens": 1}
                    (await client.post(f"{pod.url}/v1/completions", json=body)).raise_for_status()


async def hits(client: httpx.AsyncClient, prompts: Sequence[list[int]]) -> Hits:
    """Send prompts, one after the other, and add up what the engines report."""
    cached = 0
    for prompt in prompts:
        body = {"model": "base", "prompt": prompt, "max_tokens": 1}
        usage = (await client.post("/v1/completions", json=body)).raise_for_status().json()["usage"]
        cached += usage["prompt_tokens_details"]["cached_tokens"]
    return Hits(cached, sum(map(len, prompts)))


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    """Four engines, torn down after the test."""
    async with AsyncExitStack() as stack:
        fleet = Fleet(stack)
        for name in ("a", "b", "c", "d")[:ENGINES]:
            await fleet.engine(name, buffer_steps=RING, capacity=4096)
        yield fleet


def states(status: httpx.Response) -> list[tuple[str, str]]:
    """Return the state of each source, and why."""
    return [(source["state"], source["reason"]) for pod in status.json()["pods"] for source in pod["sources"]]


def stored(folder: Path) -> list[Path]:
    """Return the snapshots in a folder, by name."""
    return sorted(folder.glob(f"*{SUFFIX}"))


async def filled(fleet: Fleet, client: httpx.AsyncClient) -> Hits:
    """Let engines compute all prefixes, and then so much else that no ring has them any more.

    Returns how often they are found again.
    """
    assert (await hits(client, PROMPTS)).cached == 0
    await fleet.beside(RING)
    await fleet.caught_up(client)
    return await hits(client, PROMPTS)


@pytest.mark.parametrize("remembers", [False, True], ids=["without snapshots", "with snapshots"])
async def test_a_restart_keeps_the_hit_rate(fleet: Fleet, tmp_path: Path, remembers: bool) -> None:
    """With a folder of snapshots every prefix is found again after a restart; without one, few are."""
    settings = {"snapshots": {"folder": tmp_path}} if remembers else {}
    async with fleet.opened(**settings) as client:
        before = await filled(fleet, client)
        assert states(await client.get("/status")) == [("exact", "")] * ENGINES
    await fleet.beside(RING // 2)

    async with fleet.opened(**settings) as client:
        known = states(await client.get("/status"))
        after = await hits(client, PROMPTS)

    print(f"\nrestart {'with' if remembers else 'without'} snapshots: {before} before, {after} after")
    assert before.cached == PREFIXES * PREFIX_TOKENS
    if remembers:
        assert known == [("exact", "")] * ENGINES
        assert after == before
    else:
        assert {state for state, _ in known} == {"degraded"}
        assert after.rate < 0.5 * before.rate


@pytest.mark.parametrize("takes", [False, True], ids=["from nothing", "from a running one"])
async def test_a_rolling_update_under_traffic_keeps_the_hit_rate(fleet: Fleet, takes: bool) -> None:
    """A new gateway that takes over what a running one knows finds every prefix, while that one goes on."""
    async with fleet.opened() as old:
        before = await filled(fleet, old)
        traffic = asyncio.create_task(_traffic(old))
        settings = {"snapshots": {"take_from": str(old.base_url)}} if takes else {}
        async with fleet.opened(**settings) as new:
            traffic.cancel()
            after = await hits(new, PROMPTS)
            metrics = (await new.get("/metrics")).text

    print(f"\nrolling update {'from a running gateway' if takes else 'from nothing'}: {before}, then {after}")
    if takes:
        assert after == before
        assert f'kvsync_snapshots_total{{outcome="restored"}} {ENGINES}.0' in metrics
    else:
        assert after.rate < 0.5 * before.rate


async def _traffic(client: httpx.AsyncClient) -> None:
    """Send a new prompt every few milliseconds."""
    for number in count(70_000):
        await client.post("/v1/completions", json={"model": "base", "prompt": [number] * 17, "max_tokens": 1})
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("why", ["too much happened", "the engine restarted"])
async def test_what_the_ring_does_not_prove_is_thrown_away(
    fleet: Fleet, tmp_path: Path, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says why, the source goes on from what the ring has, and nothing is predicted wrong."""
    settings = {"snapshots": {"folder": tmp_path}}
    async with fleet.opened(**settings) as client:
        await filled(fleet, client)
    if why == "too much happened":
        await fleet.beside(RING + 1)
    else:
        for engine in fleet.engines.values():
            engine.restart()
        await fleet.beside(3)
    caplog.set_level(logging.INFO, "kvsync.manager")

    async with fleet.opened(**settings) as client:
        await hits(client, PROMPTS)
        await fleet.caught_up(client)
        await hits(client, PROMPTS)
        pods = (await client.get("/status")).json()["pods"]
        metrics = (await client.get("/metrics")).text

    lines = [text for text in caplog.messages if "what was remembered is thrown away" in text]
    assert len(lines) == ENGINES
    assert all(("the ring begins" if why == "too much happened" else "restarted") in line for line in lines)
    assert sum(pod["predictions"]["over"] for pod in pods) == 0
    assert f'kvsync_snapshots_total{{outcome="thrown_away"}} {ENGINES}.0' in metrics


async def test_files_that_cannot_be_used_are_named(
    fleet: Fleet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is one line, the rest is used, and the gateway starts in any case."""
    settings = {"snapshots": {"folder": tmp_path}}
    async with fleet.opened(**settings) as client:
        await filled(fleet, client)
    damaged, cut_off, of_another_version, _ = files = stored(tmp_path)
    assert len(files) == ENGINES
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    cut_off.write_bytes(cut_off.read_bytes()[:100])
    of_another_version.write_bytes(b"KVSNAP\r\n\x63\0" + of_another_version.read_bytes()[10:])

    async with fleet.opened(**settings) as client:
        found = [state for state, _ in states(await client.get("/status"))]

    lines = [text for text in caplog.messages if text.startswith("a snapshot is not used")]
    assert [line.split(": ", 2)[1:] for line in lines] == [
        [str(damaged), "its checksum is wrong: it was damaged"],
        [str(cut_off), lines[1].split(": ", 2)[2]],
        [str(of_another_version), "it has version 99, this release reads version 1"],
    ]
    assert "cut off" in lines[1]
    assert found == ["degraded", "degraded", "degraded", "exact"]


async def test_only_what_changed_is_written(fleet: Fleet, tmp_path: Path) -> None:
    """A file is replaced when events of its source came, and goes with its pod."""
    pods_file = tmp_path / "pods.json"

    def list_pods(names: Sequence[str]) -> None:
        listed = [
            {"name": pod.name, "model": pod.model, "host": pod.host}
            | {"port": pod.port, "event_port": pod.event_port, "replay_port": pod.replay_port}
            for pod in fleet.pods
            if pod.name in names
        ]
        pods_file.write_text(json.dumps({"pods": listed}))

    async def written() -> dict[str, int]:
        return {file.name[0]: file.stat().st_ino for file in stored(tmp_path)}

    list_pods("abcd")
    settings = {"pods": [], "pods_file": pods_file, "snapshots": {"folder": tmp_path, "interval_s": 0.05}}
    async with fleet.opened(**settings) as client:
        await filled(fleet, client)
        await until(written, lambda files: len(files) == ENGINES)
        first = await written()
        body = {"model": "base", "prompt": [1] * 17, "max_tokens": 1}
        async with httpx.AsyncClient(verify=NO_CERTIFICATES) as direct:
            await direct.post(f"{fleet.pods[1].url}/v1/completions", json=body)

        await until(written, lambda files: files["b"] != first["b"])
        assert {**await written(), "b": 0} == {**first, "b": 0}

        list_pods("abc")
        await until(written, lambda files: files.keys() == set("abc"))
