"""Snapshots in a folder and from another gateway, over a real file system and real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from kvsync.access.peers import PeerClient
from kvsync.errors import ConfigError
from kvsync.events import BlockStored, Source
from kvsync.index import PrefixIndex
from kvsync.sequence import Memory
from kvsync.settings.operation import SnapshotsConfig
from kvsync.snapshots.coding import encode
from kvsync.snapshots.folder import SnapshotFolder, file_name
from kvsync.snapshots.keeper import RETRY_S, SnapshotKeeper
from kvsync.snapshots.snapshot import SourceSnapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from starlette.requests import Request

NOW = 1_790_000_000.0


def snapshot(pod: str, *, last: int = 1, made_at: float = NOW) -> SourceSnapshot:
    """Return a snapshot of a source with one block."""
    index, source = PrefixIndex(), Source(pod, "m")
    stored = BlockStored(block_hashes=(7,), parent_block_hash=None, token_ids=(1, 2), block_size=2)
    index.apply(source, stored)
    held = index.held(source)
    assert held is not None
    return SourceSnapshot(
        source=source,
        endpoint="tcp://h:1",
        replay_endpoint="tcp://h:2",
        made_at=made_at,
        hash_seed=0,
        memory=Memory(last=last, digests=(last,)),
        left_out=(),
        held=held,
    )


class Manager:
    """Sources that have applied some batches."""

    def __init__(self, **batches: int) -> None:
        self.batches = batches

    def progress(self) -> Mapping[Source, int]:
        """Return how many."""
        return {Source(pod, "m"): number for pod, number in self.batches.items()}

    def snapshot(self, source: Source) -> SourceSnapshot | None:
        """Return one that says as much."""
        return snapshot(source.pod, last=self.batches[source.pod])


@pytest.fixture
async def client() -> AsyncIterator[PeerClient]:
    """Ask other gateways."""
    async with PeerClient() as client:
        yield client


def keeper(
    client: PeerClient, manager: Manager | None = None, now: float = NOW, **config: object
) -> SnapshotKeeper:
    """Return a keeper whose clock stands still."""
    return SnapshotKeeper(
        SnapshotsConfig.model_validate(config), manager or Manager(), client, clock=lambda: now
    )


def names(folder: Path) -> list[str]:
    """Return the names of the files in a folder."""
    return [file.name for file in folder.iterdir()]


async def test_a_snapshot_is_read_until_it_is_too_old(client: PeerClient, tmp_path: Path) -> None:
    """What is too old is one line in the log, and its file goes."""
    folder = SnapshotFolder(tmp_path)
    folder.write(snapshot("new", made_at=NOW - 100))
    folder.write(snapshot("old", made_at=NOW - 101))

    kept = keeper(client, folder=tmp_path, max_age_s=100)
    found = await kept.load()

    assert [source.pod for source in found] == ["new"]
    assert names(tmp_path) == [file_name(Source("new", "m"))]
    assert kept.counts == {"read": 1, "unreadable": 1}


async def test_an_idle_source_is_written_again_before_it_is_too_old(
    client: PeerClient, tmp_path: Path
) -> None:
    """Nothing new has happened, and what is known is as true as before."""
    times = {"now": NOW}
    manager = Manager(a=3)
    kept = SnapshotKeeper(
        SnapshotsConfig(folder=tmp_path, max_age_s=100), manager, client, clock=lambda: times["now"]
    )
    for times["now"], written in ((NOW, 1), (NOW + 50, 1), (NOW + 51, 2)):
        await kept.save()
        assert kept.counts["written"] == written


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    """The gateway does not start, and says which setting is wrong."""
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(ConfigError, match=r"snapshots\.folder: .*file"):
        SnapshotFolder(file / "state")


async def test_a_snapshot_that_cannot_be_written_is_tried_again(
    client: PeerClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is one line in the log and one count; nothing else ends, and no unfinished file stays."""
    folder = tmp_path / "state"
    kept = keeper(client, Manager(a=3), folder=folder)
    folder.rmdir()
    folder.touch()  # not a folder any more

    await kept.save()
    assert (kept.counts["unwritten"], len(caplog.messages)) == (1, 1)
    assert "its snapshot is not written" in caplog.text

    folder.unlink()
    folder.mkdir()
    await kept.save()
    assert kept.counts["written"] == 1
    assert names(folder) == [file_name(Source("a", "m"))]


def test_what_was_never_finished_is_removed(tmp_path: Path) -> None:
    """A process that was killed while it wrote leaves the snapshot before as it was."""
    folder = SnapshotFolder(tmp_path)
    folder.write(snapshot("a"))
    (tmp_path / "tmpabc.unfinished").write_bytes(b"KVSN")

    assert [*folder.read(not_before=0)] == [snapshot("a")]
    assert len([*tmp_path.iterdir()]) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("a/b", "a_b"), ("p" * 300 + "1", "p" * 300 + "2"), ("..", "__")],
    ids=["slash", "long", "dots"],
)
def test_names_of_pods_become_names_of_files(tmp_path: Path, one: str, other: str) -> None:
    """Whatever a pod is called, its file is in the folder and its own."""
    folder = SnapshotFolder(tmp_path)
    for pod in (one, other):
        folder.write(snapshot(pod))

    assert {each.source.pod for each in folder.read(not_before=0) if isinstance(each, SourceSnapshot)} == {
        one,
        other,
    }


@pytest.fixture
async def gateway() -> AsyncIterator[str]:
    """Another gateway, which gives what its path says; returns its address."""
    streams = {
        "whole": (encode(snapshot("a", last=5, made_at=NOW + 1)), encode(snapshot("b"))),
        "cut": (encode(snapshot("a")), encode(snapshot("b"))[:-3]),
    }

    async def give(request: Request) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for part in streams[request.path_params["what"]]:
                yield part
            if request.headers.get("authorization") == "Bearer wait":
                await asyncio.sleep(60)

        if request.path_params["what"] not in streams:
            return StreamingResponse(iter(()), 404)
        return StreamingResponse(parts(), 200 if "authorization" in request.headers else 401)

    app = Starlette(routes=[Route("/{what}/index/snapshots", give)])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve([listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = server.force_exit = True
        await serving


async def test_of_two_snapshots_the_younger_is_tried(
    client: PeerClient, gateway: str, tmp_path: Path
) -> None:
    """What the folder has counts where the other gateway has nothing younger."""
    folder = SnapshotFolder(tmp_path)
    folder.write(snapshot("a", last=4))
    folder.write(snapshot("b", last=9, made_at=NOW + 2))

    kept = keeper(client, folder=tmp_path, take_from=f"{gateway}/whole", take_key="k")

    assert await kept.load() == {
        Source("a", "m"): snapshot("a", last=5, made_at=NOW + 1),
        Source("b", "m"): snapshot("b", last=9, made_at=NOW + 2),
    }
    assert kept.counts == {"read": 2, "taken": 2}


async def test_what_came_of_another_gateway_is_used(
    client: PeerClient, gateway: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when the rest does not come: cut off, or too late. Each is one line in the log."""
    caplog.set_level(logging.WARNING)
    for what, key, pods, says in (
        ("whole", "k", ["a", "b"], ""),
        ("whole", None, [], "status 401: snapshots.take_key is not one of its keys"),
        ("cut", "k", ["a"], "cut off"),
        ("nothing", "k", [], "status 404: with access.admin, ask at that port"),
        ("whole", "wait", ["a", "b"], f"(0.1 s): {gateway}/whole took longer"),
    ):
        caplog.clear()
        kept = keeper(client, take_from=f"{gateway}/{what}", take_key=key, take_s=0.1)
        found = await kept.load()
        assert [source.pod for source in found] == pods
        assert (says in caplog.text, kept.counts["not_taken"]) == (True, int(bool(says)))


async def test_a_gateway_that_is_not_there_is_one_line(
    client: PeerClient, caplog: pytest.LogCaptureFixture
) -> None:
    """As when all gateways start at once."""
    kept = keeper(client, take_from="http://127.0.0.1:9", take_s=0.3)

    assert await kept.load() == {}
    assert [text.partition(": ")[0] for text in caplog.messages] == [
        "not all that another gateway knows is taken over within snapshots.take_s (0.3 s)"
    ]
    assert "NotConnected" in caplog.text


async def test_a_gateway_that_cannot_be_reached_yet_is_asked_again(client: PeerClient) -> None:
    """As in the first seconds of a pod, before the names and Services of its cluster are known to it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kept = keeper(client, take_from=f"http://127.0.0.1:{port}")
    loading = asyncio.create_task(kept.load())
    await asyncio.sleep(RETRY_S)

    stored = encode(snapshot("a"))
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(stored)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + stored)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port):
        assert [*await loading] == [Source("a", "m")]
    assert kept.counts == {"taken": 1}
