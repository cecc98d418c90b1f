"""Many clients at once."""

import random
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from client import FileClient, Tables, eventually
from content import Content
from httpx import HTTPStatusError
from sizes import Sizes

pytestmark = [pytest.mark.concurrent, pytest.mark.timeout(600)]

POOL = 20
"""The gateway's connections to the database, by stages.toml and compose.yaml."""


def test_concurrent_uploads(files: FileClient, prefix: str, sizes: Sizes) -> None:
    """Of 50 files that are stored at once, each is there and what it was."""
    contents = {f"{prefix}-{seed:03}": Content(seed, sizes.each + seed) for seed in range(sizes.uploads)}

    with ThreadPoolExecutor(sizes.uploads) as threads:
        list(threads.map(files.upload, contents, contents.values()))

    assert files.names(prefix=prefix) == list(contents)
    assert {name: files.download(name) for name in contents} == {
        name: (content.size, content.sha256()) for name, content in contents.items()
    }


def test_concurrent_downloads(files: FileClient, prefix: str, sizes: Sizes) -> None:
    """100 clients that read a file at once all get it."""
    content = Content(1, sizes.each)
    files.upload(prefix, content)

    with ThreadPoolExecutor(sizes.downloads) as threads:
        found = set(threads.map(files.download, [prefix] * sizes.downloads))

    assert found == {(content.size, content.sha256())}


def test_mixed_operations(files: FileClient, prefix: str, sizes: Sizes) -> None:
    """Clients that store, read and remove files of their own do not disturb each other."""

    def life(seed: int) -> list[object]:
        name, chance = f"{prefix}-{seed}", random.Random(seed)
        expected: tuple[int, str] | None = None
        wrong: list[object] = []
        for step in range(8):
            act = chance.choice(["upload", "download", "delete"])
            if act == "upload":
                content = Content(seed * 100 + step, chance.randrange(sizes.each))
                files.upload(name, content)
                expected = (content.size, content.sha256())
            elif act == "delete":
                status = files.status("DELETE", f"/files/{name}")
                wrong += [] if status == (204 if expected else 404) else [(name, step, act, status)]
                expected = None
            elif expected:
                found = files.download(name)
                wrong += [] if found == expected else [(name, step, act, found)]
            else:
                status = files.status("GET", f"/files/{name}")
                wrong += [] if status == 404 else [(name, step, act, status)]
        return wrong

    with ThreadPoolExecutor(16) as threads:
        assert [each for wrong in threads.map(life, range(16)) for each in wrong] == []


def test_database_connection_pool(files: FileClient, prefix: str, tables: Tables) -> None:
    """100 clients share the pool's connections: all are answered, no more are opened, and none is kept."""
    files.upload(prefix, Content(2, 1000))
    query = (
        "SELECT state, count(*) FROM pg_stat_activity WHERE application_name = 'object-store' GROUP BY state"
    )
    over = Event()

    def watch() -> int:
        most = 0
        while not over.is_set():
            most = max(most, sum(count for _, count in tables.rows(query)))
            over.wait(0.01)
        return most

    with ThreadPoolExecutor(101) as threads:
        watching = threads.submit(watch)
        try:
            found = [described["size"] for described in threads.map(files.metadata, [prefix] * 500)]
        finally:
            over.set()
        most = watching.result()

    assert found == [1000] * 500
    assert 1 < most <= POOL
    eventually(lambda: {state for state, _ in tables.rows(query)} <= {"idle"}, "all connections are idle")


def test_race_conditions(files: FileClient, prefix: str, tables: Tables, sizes: Sizes) -> None:
    """Writers and removers of one name: readers get one version whole or none, and one is left at most."""
    contents = [Content(seed, sizes.each + seed) for seed in range(12)]
    versions = {(content.size, content.sha256()) for content in contents}
    over = Event()

    def read() -> set[tuple[int, str]]:
        found = set()
        while not over.is_set():
            try:
                found.add(files.download(prefix))
            except HTTPStatusError as exc:
                if exc.response.status_code != 404:
                    raise
        return found

    def write(content: Content) -> None:
        files.upload(prefix, content)
        if content.seed % 4 == 0:
            assert files.status("DELETE", f"/files/{prefix}") in (204, 404)

    with ThreadPoolExecutor(20) as threads:
        readers = [threads.submit(read) for _ in range(4)]
        writers = [threads.submit(write, content) for content in contents]
        try:
            for writer in writers:
                writer.result()
            files.upload(prefix, contents[-1])
        finally:
            over.set()
        read_versions = set().union(*(reader.result() for reader in readers))

    assert read_versions
    assert read_versions <= versions
    assert files.download(prefix) == (contents[-1].size, contents[-1].sha256())
    eventually(lambda: tables.states(prefix) == ["visible"], "only one version is left", 60)
