"""Events without requests: what a pod announces of prompts that were never sent is what it holds."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from kvsync.simulator.pod import SimulatedPod
from kvsync.testing.results.history import read_lines

Simulate = Callable[..., Awaitable[tuple[SimulatedPod, httpx.AsyncClient]]]


async def churn(pod: SimulatedPod, client: httpx.AsyncClient, wanted: object) -> httpx.Response:
    """Ask for a churn."""
    return await client.post(f"http://{pod.options.host}:{pod.options.admin_port}/churn", json=wanted)


def held(told: list[dict[str, Any]]) -> set[str]:
    """Return what a reader of these announcements believes the pod to hold."""
    blocks: set[str] = set()
    for batch in told:
        blocks = (blocks - set(batch["removed"])) | set(batch["stored"])
    return blocks


async def test_a_full_cache_evicts_for_prompts_that_nobody_sent(simulate: Simulate, tmp_path: Path) -> None:
    """Each is announced in a batch of its own, evenly over the time, and all of them add up to the cache."""
    history = tmp_path / "h.jsonl"
    pod, client = await simulate(capacity=16, history=history)

    began = time.monotonic()
    answer = await churn(pod, client, {"prompts": 10, "seconds": 0.2, "blocks": 3})

    assert answer.json() == {"prompts": 10}
    assert time.monotonic() - began >= 0.18
    told: list[dict[str, Any]] = list(read_lines(history))
    assert [len(batch["stored"]) for batch in told] == [3] * 10
    assert sum(len(batch["removed"]) for batch in told) == 30 - 16
    assert held(told) == {f"{block.hash:016x}" for block in pod.engine.scheduler.cache.table()}
    assert pod.engine.scheduler.cache.free_blocks == 16


async def test_prompts_that_find_no_room_are_not_counted(simulate: Simulate) -> None:
    """The cache has fewer blocks than one of them needs."""
    pod, client = await simulate(capacity=2)

    assert (await churn(pod, client, {"prompts": 3, "seconds": 0.01, "blocks": 3})).json() == {"prompts": 0}


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"prompts": 1, "seconds": 1}, id="too little"),
        pytest.param({"prompts": 1, "seconds": 0, "blocks": 1}, id="in no time"),
        pytest.param({"prompts": "many", "seconds": 1, "blocks": 1}, id="no number"),
    ],
)
async def test_a_churn_has_to_be_complete(simulate: Simulate, wanted: dict[str, object]) -> None:
    """What is missing or no positive number is refused, with what belongs to it."""
    pod, client = await simulate()
    answer = await churn(pod, client, wanted)

    assert answer.status_code == 400
    assert "a churn is an object of positive numbers: prompts, seconds, blocks" in answer.text
