"""Pods from a file that changes, breaks and vanishes."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

import pytest

from kvsync.discovery import FileDiscovery, StaticDiscovery
from kvsync.pods import Pod

Background = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]
Eventually = Callable[[Callable[[], object]], Awaitable[None]]

A = Pod(name="a", model="m", host="127.0.0.1")
B = Pod(name="b", model="m", host="127.0.0.1", port=8001)


def write(path: Path, *pods: Pod) -> None:
    """Replace the list by renaming, as a careful writer does."""
    entries = [{"name": pod.name, "model": pod.model, "host": pod.host, "port": pod.port} for pod in pods]
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"pods": entries}))
    draft.replace(path)


def spoil(path: Path, content: bytes | None) -> None:
    """Put something else there, or nothing."""
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


class Follower:
    """Keeps every snapshot that a discovery gives."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.discovery = FileDiscovery(file, interval_s=0.005, clock=clock)
        self.snapshots: list[tuple[Pod, ...]] = []

    async def run(self) -> None:
        """Follow until cancelled."""
        async for pods in self.discovery.watch():
            self.snapshots.append(pods)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A list with the pod A."""
    path = tmp_path / "pods.yaml"
    write(path, A)
    return path


async def test_a_static_list_is_given_once() -> None:
    """Pods that never change come once, and nothing has to be watched after that."""
    assert [pods async for pods in StaticDiscovery([A, B]).watch()] == [(A, B)]


async def test_every_change_is_a_snapshot(file: Path, background: Background, eventually: Eventually) -> None:
    """Each new list is given in full; writing the same list again is not a change."""
    followed = Follower(file)
    background(followed.run())
    await eventually(lambda: len(followed.snapshots) == 1)
    write(file, A)
    write(file, A, B)
    await eventually(lambda: len(followed.snapshots) == 2)
    write(file)
    await eventually(lambda: len(followed.snapshots) == 3)

    assert followed.snapshots == [(A,), (A, B), ()]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", ".: a mapping is needed"),
        (b'{"pods": [{"name": "a", "mod', "while scanning"),
        (b"pods: [{name: a, model: m, host: h, port: 0}]", "pods[0].port: input should be"),
        (b"\xff\xfe", "cannot read"),
        (None, "cannot read"),
    ],
    ids=["empty", "half written", "invalid", "not utf-8", "gone"],
)
async def test_a_broken_file_keeps_the_last_good_list(
    file: Path, background: Background, eventually: Eventually, content: bytes | None, problem: str
) -> None:
    """Nothing is forgotten because of a bad file; the problem shows until the file is good again."""
    followed = Follower(file)
    background(followed.run())
    await eventually(lambda: followed.snapshots)
    spoil(file, content)
    await eventually(lambda: problem in followed.discovery.problem)

    write(file, A)
    await eventually(lambda: not followed.discovery.problem)
    write(file, B)
    await eventually(lambda: len(followed.snapshots) == 2)

    assert followed.snapshots == [(A,), (B,)]


async def test_a_file_may_come_later(file: Path, background: Background, eventually: Eventually) -> None:
    """Without a file there are no pods, a problem is shown, and the file is taken when it comes."""
    spoil(file, None)
    followed = Follower(file)
    background(followed.run())
    await eventually(lambda: followed.snapshots == [()])
    assert "cannot read" in followed.discovery.problem

    write(file, A)
    await eventually(lambda: followed.snapshots == [(), (A,)])


async def test_a_lasting_problem_is_logged_once_in_a_while(
    file: Path, background: Background, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is missing at every look is mentioned once per minute, not at every look."""
    minutes = iter(range(100))
    followed = Follower(file, clock=lambda: 60.0 * (next(minutes) // 10))
    spoil(file, None)
    with caplog.at_level(logging.WARNING):
        background(followed.run())
        await eventually(lambda: len(caplog.records) == 3)

    assert 20 < next(minutes) < 30
    assert caplog.messages[0].startswith("the list of pods stays as it was: cannot read")
