"""A double of the API server, and what follows its pods."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kvsync.config import KubernetesConfig
from kvsync.kube.discovery import KubernetesDiscovery
from kvsync.pods import Pod
from kvsync.testing.doubles.api_server import FakeApiServer, pod_manifest

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

QUICK = {"timeout_s": 1.0, "watch_s": 20, "retry_s": 0.01, "retry_max_s": 0.02}
"""Quick to try again, and nothing ends by itself unless the test is about that."""


class Follower:
    """Keeps every snapshot of a discovery, and every pause; its calendar stands still until set to `now`."""

    def __init__(self, settings: KubernetesConfig, clock: Callable[[], float]) -> None:
        self.now = NOW
        self.discovery = KubernetesDiscovery(settings, clock=clock, now=lambda: self.now, sleep=self._pause)
        self.snapshots: list[tuple[Pod, ...]] = []
        self.pauses: list[float] = []
        self.task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str:
        """Why the newest snapshot may be out of date; empty while there is a watch."""
        return self.discovery.problem

    @property
    def newest(self) -> tuple[Pod, ...]:
        """The newest snapshot."""
        return self.snapshots[-1]

    async def run(self) -> None:
        """Follow until cancelled."""
        async for pods in self.discovery.watch():
            self.snapshots.append(pods)

    async def _pause(self, seconds: float) -> None:
        if seconds:
            self.pauses.append(seconds)
        await asyncio.sleep(seconds)


Follow = Callable[..., Follower]


@pytest.fixture
async def api(request: pytest.FixtureRequest) -> AsyncIterator[FakeApiServer]:
    """An API server with the pod a, at version 101; its parameter is how it says 410."""
    async with FakeApiServer(getattr(request, "param", "event")) as server:
        server.put(pod_manifest("a", ip="10.0.0.1"))
        yield server


@pytest.fixture
def kubeconfig(api: FakeApiServer, tmp_path: Path) -> Path:
    """A file whose context `fake` leads to the API server."""
    return api.kubeconfig(tmp_path / "kubeconfig")


@pytest.fixture
def follow(
    kubeconfig: Path, background: Callable[[Coroutine[object, object, None]], asyncio.Task[None]]
) -> Follow:
    """Follow pods until the test ends; options are those of KubernetesConfig."""

    def follow(clock: Callable[[], float] = time.monotonic, **options: object) -> Follower:
        settings = KubernetesConfig.model_validate({**QUICK, "kubeconfig": kubeconfig, **options})
        follower = Follower(settings, clock)
        follower.task = background(follower.run())
        return follower

    return follow
