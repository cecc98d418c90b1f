"""The receiver as a process: what it refuses, what it says, and what it loses when it is killed: nothing."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey

from deployments.webhook.inbox import Inbox
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES
from tests.payloads.recorded import payload
from tests.pipeline.webhook.conftest import NAME, SECRET, headers, until

pytestmark = pytest.mark.timeout(260)


class Process:
    """`python -m deployments.webhook`, started again when it was killed."""

    def __init__(self, folder: Path, prefect: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.inbox, self.log = folder / "webhook.db", folder / "webhook.log"
        self._env = {
            **os.environ,
            "PREFECT_API_URL": prefect,
            "PREFECT_API_AUTH_STRING": "admin:planted-password",
            "PREFECT_HOME": str(folder),
            "KVSYNC_CI_WEBHOOK_SECRET": SECRET,
            "KVSYNC_CI_WEBHOOK_PORT": str(self.port),
            "KVSYNC_CI_WEBHOOK_REPOSITORIES": NAME,
            "KVSYNC_CI_WEBHOOK_RATE_PER_MINUTE": "6000",
            "KVSYNC_CI_GITHUB_TOKEN": "planted-token",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        """Start it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deployments.webhook", str(self.inbox)],
                env=self._env | env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self._process

    def end(self, by: int) -> None:
        """End it by a signal."""
        if self._process:
            self._process.send_signal(by)
            self._process.wait(timeout=20)
            self._process = None


@pytest.fixture
def process(tmp_path: Path, pipeline: str) -> Iterator[Process]:
    """A receiver that is not started yet."""
    process = Process(tmp_path, pipeline)
    yield process
    process.end(signal.SIGKILL)


@pytest.fixture
async def client(process: Process) -> AsyncIterator[httpx.AsyncClient]:
    """A sender."""
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{process.port}", timeout=5, verify=NO_CERTIFICATES
    ) as client:
        yield client


async def deliver(client: httpx.AsyncClient, delivery: str) -> str:
    """Send a push until it is taken, as somebody does who presses the button again; returns the answer."""
    body = json.dumps(payload("push", before=delivery)).encode()

    async def taken() -> str:
        try:
            answer = await client.post("/github", content=body, headers=headers("push", body, delivery))
        except httpx.TransportError:
            return ""
        return answer.text

    return await until(taken, within_s=60)


async def kill_and_restart(process: Process, rng: random.Random, done: asyncio.Event) -> int:
    """Kill the receiver at moments of chance until `done`; returns how often."""
    kills = 0
    while True:
        try:
            async with asyncio.timeout(rng.uniform(0.0, 1.0)):
                await done.wait()
            return kills
        except TimeoutError:
            process.end(signal.SIGKILL)
            process.start()
            kills += 1
            await until(lambda: answers(process), within_s=60)


async def answers(process: Process) -> bool:
    """Whether somebody listens."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", process.port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize(
    "count", [5, pytest.param(20, marks=[pytest.mark.full, pytest.mark.timeout(600)])], ids=["quick", "full"]
)
async def test_killed_at_any_moment_each_delivery_is_one_run(
    process: Process, client: httpx.AsyncClient, prefect: PrefectClient, seed: int, count: int
) -> None:
    """Also those whose sender heard nothing and sent them again."""
    deliveries = [str(uuid4()) for _ in range(count)]
    process.start()
    done = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        killing = tasks.create_task(kill_and_restart(process, random.Random(seed), done))
        for delivery in deliveries:
            assert await deliver(client, delivery) in ("accepted", "repeated: already accepted")
            await asyncio.sleep(0.1)
        done.set()
    with closing(Inbox(process.inbox, lambda: 0.0)) as inbox:

        async def finished() -> bool:
            return not inbox.waiting()

        await until(finished, within_s=60)
        started = {delivery: flow_run for delivery, (_, flow_run) in inbox.outcomes().items()}
    keys = FlowRunFilterIdempotencyKey(any_=[f"github-{delivery}" for delivery in deliveries])
    runs = await prefect.read_flow_runs(flow_run_filter=FlowRunFilter(idempotency_key=keys))

    assert list(started) == deliveries
    assert sorted(str(run.id) for run in runs) == sorted(str(flow_run) for flow_run in started.values())
    assert killing.result() > 0


async def test_no_secret_is_in_the_log(process: Process, client: httpx.AsyncClient) -> None:
    """Neither ours, nor a signature, nor what a sender puts into its URL or body."""
    process.start()
    await deliver(client, str(uuid4()))
    await client.post(
        "/github?token=planted-query", headers={"X-Hub-Signature-256": "sha256=planted-signature"}
    )
    body = b'{"ref": "planted-body"}'
    await client.post("/github", content=body, headers=headers("push", body, "1"))
    process.end(signal.SIGTERM)
    log = process.log.read_text()

    assert "accepted" in log
    assert "rejected with 401: signature" in log
    assert "rejected with 400: shape" in log
    signature = headers("push", body, "1")["X-Hub-Signature-256"].removeprefix("sha256=")
    assert [word for word in ("planted", SECRET, signature) if word in log] == []


@pytest.mark.parametrize("missing", ["KVSYNC_CI_WEBHOOK_SECRET", "PREFECT_API_URL"])
def test_without_what_it_needs_it_does_not_start(process: Process, missing: str) -> None:
    """The variable is named."""
    status = process.start(**{missing: ""}).wait(timeout=60)

    assert (status, missing in process.log.read_text()) == (2, True)
