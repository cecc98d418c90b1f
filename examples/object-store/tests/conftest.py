"""Where the servers are, how large files are, and removing what tests leave."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from chunk_client import ChunkClient
from client import FileClient, Tables, gateway_client
from cluster import Cluster, cluster
from content import Content, readable
from httpx import HTTPStatusError
from sizes import BY_NAME, Sizes

SERVERS = ("storage-1", "storage-2", "storage-3")

COPIES = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a profile choose how large files are."""
    parser.addoption("--sizes", choices=sorted(BY_NAME), default="quick", help="10 MB or up to 10 GB")


@pytest.fixture(scope="session")
def sizes(pytestconfig: pytest.Config) -> Sizes:
    """Give the sizes of the profile."""
    return BY_NAME[pytestconfig.getoption("--sizes")]


@pytest.fixture(scope="session")
def files() -> Iterator[FileClient]:
    """Give a client of the gateway."""
    with gateway_client(_variable("GATEWAY_URL")) as client:
        yield client


@pytest.fixture(scope="session")
def tables() -> Tables:
    """Give what the gateway's database has."""
    return Tables(_variable("DATABASE_URL"))


@pytest.fixture(scope="session")
def storages() -> Iterator[dict[str, ChunkClient]]:
    """Give clients of the storage servers, by their ids."""
    clients = {each: ChunkClient(storage_address(each)) for each in SERVERS}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture
def storage(storages: dict[str, ChunkClient]) -> ChunkClient:
    """Give a client of one storage server."""
    return storages[SERVERS[0]]


@pytest.fixture
def prefix(files: FileClient) -> Iterator[str]:
    """Give what names of files begin with in this test alone; its files are removed afterwards."""
    given = f"test-{uuid4().hex}"
    yield given
    for name in files.names(prefix=given, limit=1000):
        try:
            files.delete(name)
        except HTTPStatusError as exc:
            if exc.response.status_code != 404:
                raise


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Give servers of this test's own."""
    with cluster(_variable("DATABASE_URL"), tmp_path) as found:
        yield found


@pytest.fixture
def fitting(
    files: FileClient, record_property: Callable[[str, object], None]
) -> Callable[[Content], Content]:
    """Give what makes content sparse where disks have no room for it, and skips where not even for that."""

    def fit(content: Content) -> Content:
        free = min(each["free_bytes"] for each in files.servers().values())
        sparse = Content(content.seed, content.size, is_sparse=True)
        # On one disk there may be all copies.
        for each, part in ((content, 1.0), (sparse, 1 / 8)):
            if content.size * part * COPIES * 1.1 < free:
                record_property("content", "sparse" if each.is_sparse else "noise")
                return each
        needed = readable(content.size * COPIES / 8)
        pytest.skip(
            f"no room: {needed} are needed for {readable(content.size)}, and {readable(free)} are free"
        )

    return fit


def storage_address(server: str) -> str:
    """Return the address of one of the storage servers."""
    name = server.upper().replace("-", "_")
    return f"{_variable(f'{name}_HOST')}:{_variable(f'{name}_PORT')}"


def _variable(name: str) -> str:
    if not (value := os.environ.get(name)):
        raise pytest.UsageError(
            f"{name} is not set: run the tests by `kvsync-ci run`, or by scripts/run_tests.py with Docker"
        )
    return value
