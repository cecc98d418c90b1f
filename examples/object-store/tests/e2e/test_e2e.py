"""Files from end to end: over HTTP, onto three storage servers, and back."""

import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from chunk_client import ChunkClient
from client import FileClient, Tables, eventually
from cluster import Cluster
from content import Content
from sizes import GB, MB, Sizes, demand

DEMANDED = 100 * MB
"""Bytes per second of a transfer, in the profile `full`."""


@pytest.fixture
def bounded(files: FileClient, sizes: Sizes, request: pytest.FixtureRequest) -> FileClient:
    """Give a gateway whose largest file is that of the profile; in `full` it is the stage's own.

    With a database of its own: gateways on one have to reach the storage servers at the same addresses, and
    those in containers do not reach them where this test does.
    """
    if sizes.is_full:
        return files
    own: Cluster = request.getfixturevalue("own_cluster")
    servers = ["bounded-1", "bounded-2"]
    for each in servers:
        own.storage(each)
    _, client = own.gateway("--max-bytes", str(sizes.largest), servers=servers)
    return client


def status_of_announced(files: FileClient, name: str, size: int) -> int:
    """Return the status for a file of which only the size is sent."""
    address = files.http.base_url
    connection = http.client.HTTPConnection(address.host, address.port, timeout=30)
    connection.putrequest("PUT", f"/files/{name}")
    connection.putheader("content-length", str(size))
    connection.endheaders()
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def test_upload_download_small_file(files: FileClient, prefix: str, sizes: Sizes) -> None:
    """A file of 10 MB comes back as it was sent."""
    content = Content(1, sizes.small)

    described = files.upload(prefix, content)

    assert (described["size"], described["sha256"]) == (content.size, content.sha256())
    assert files.download(prefix) == (content.size, content.sha256())


@pytest.mark.slow
@pytest.mark.large_file
@pytest.mark.timeout(1800)
def test_upload_download_large_file(
    files: FileClient, prefix: str, sizes: Sizes, fitting: Callable[[Content], Content]
) -> None:
    """A file of 5 GB comes back as it was sent."""
    content = fitting(Content(2, sizes.large))

    files.upload(prefix, content)

    assert files.download(prefix) == (content.size, content.sha256())


def test_upload_exceeds_max_size(files: FileClient, prefix: str) -> None:
    """A file of 11 GB is refused before it is sent."""
    assert status_of_announced(files, prefix, 11 * GB) == 413
    assert files.status("GET", f"/files/{prefix}") == 404


def test_upload_of_unknown_length_exceeds_max_size(own_cluster: Cluster) -> None:
    """A file of unknown length is refused when it becomes too large, and nothing is seen of it."""
    own_cluster.storage("a")
    _, files = own_cluster.gateway("--max-bytes", str(MB), servers=["a"])

    # The gateway may close the connection while the client still sends.
    try:
        status = files.http.put("/files/endless", content=iter(Content(3, 9 * MB))).status_code
    except (httpx.WriteError, httpx.ReadError):
        status = 413

    assert status == 413
    assert files.names() == []


def test_download_nonexistent_file(files: FileClient) -> None:
    """What is not there is a 404, however it is asked for."""
    asked = [("GET", ""), ("HEAD", ""), ("DELETE", ""), ("GET", "/metadata")]

    assert [files.status(method, f"/files/nothing{path}") for method, path in asked] == [404] * 4


def test_list_files(files: FileClient, prefix: str) -> None:
    """Pages give every file once, in order, and only those of a prefix."""
    names = [f"{prefix}-{number:02}" for number in range(25)]
    for name in reversed(names):
        files.upload(name, Content(4, 100))

    first = files.http.get("/files", params={"prefix": prefix, "limit": 10}).json()

    assert [each["name"] for each in first["files"]] == names[:10]
    assert first["next"] == names[9]
    assert files.names(prefix=prefix, limit=10) == names
    assert files.names(prefix=f"{prefix}-1") == names[10:20]
    assert [files.status("GET", f"/files?limit={each}") for each in ("0", "1001", "-1", "ten")] == [400] * 4


def test_delete_file(
    files: FileClient, prefix: str, tables: Tables, storages: dict[str, ChunkClient]
) -> None:
    """With a file go its metadata and its chunks on all servers."""
    files.upload(prefix, Content(5, 10 * MB))
    chunks = tables.chunks(prefix)
    copies = [(chunk, server) for chunk, servers in chunks.items() for server in servers]
    assert len(chunks) == 3
    assert len(copies) == 6
    assert all(storages[server].has(chunk) for chunk, server in copies)

    files.delete(prefix)

    assert files.status("GET", f"/files/{prefix}") == 404
    eventually(lambda: not tables.states(prefix), "the metadata is gone")
    assert not any(client.has(chunk) for chunk in chunks for client in storages.values())


def test_get_file_metadata(files: FileClient, prefix: str) -> None:
    """Metadata say what the file is, as the headers do."""
    content = Content(6, 123_457)
    files.upload(prefix, content, "text/plain; charset=utf-8")

    described = files.metadata(prefix)
    headers = files.http.head(f"/files/{prefix}").headers

    assert described.pop("changed_at") > "2020"
    assert described == {
        "name": prefix,
        "content_type": "text/plain; charset=utf-8",
        "size": 123_457,
        "sha256": content.sha256(),
    }
    assert headers["content-length"] == "123457"
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["etag"] == f'"{content.sha256()}"'


@pytest.mark.parametrize(
    "given", ["text", "text/", "/plain", "text/plain/more", "te xt/plain", "text/plain;x"]
)
def test_upload_invalid_content_type(files: FileClient, prefix: str, given: str) -> None:
    """What is not a content type is refused, and nothing is stored."""
    assert files.status("PUT", f"/files/{prefix}", content=b"x", headers={"content-type": given}) == 415
    assert files.status("GET", f"/files/{prefix}") == 404


@pytest.mark.parametrize("name", ["-x", "a%2Fb", "%2e%2e", "x" * 256, "a%0Ab"])
def test_upload_invalid_name(files: FileClient, name: str) -> None:
    """What is not a file's name is refused, or leads nowhere."""
    assert files.status("PUT", f"/files/{name}", content=b"x") in (400, 404, 405)


def test_upload_checksum_mismatch(files: FileClient, prefix: str, tables: Tables) -> None:
    """Bytes that are not those that were announced are not stored."""
    headers = {"x-checksum-sha256": Content(7, 10).sha256()}

    assert files.status("PUT", f"/files/{prefix}", content=b"other", headers=headers) == 422
    assert files.status("GET", f"/files/{prefix}") == 404
    eventually(lambda: not tables.states(prefix), "nothing is left")


def test_upload_empty_file(files: FileClient, prefix: str) -> None:
    """A file may be empty."""
    files.upload(prefix, Content(8, 0))

    assert files.download(prefix) == (0, Content(8, 0).sha256())


@pytest.mark.slow
@pytest.mark.large_file
@pytest.mark.timeout(3600)
def test_upload_download_max_size(
    bounded: FileClient, prefix: str, sizes: Sizes, fitting: Callable[[Content], Content]
) -> None:
    """A file of exactly the largest size (10 GB) is stored; one byte more is not."""
    content = fitting(Content(9, sizes.largest))

    bounded.upload(prefix, content)

    assert bounded.download(prefix) == (content.size, content.sha256())
    assert status_of_announced(bounded, f"{prefix}-more", content.size + 1) == 413


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_throughput(
    files: FileClient, prefix: str, sizes: Sizes, record_property: Callable[[str, object], None]
) -> None:
    """The gateway moves more than 100 MB per second each way, where machines are there for it: in `full`."""
    content = Content(10, sizes.stream)
    rates = {}
    for way, move in (
        ("upload", lambda: files.upload(prefix, content)),
        ("download", lambda: files.download(prefix)),
    ):
        began = time.perf_counter()
        move()
        rates[way] = content.size / (time.perf_counter() - began)
        record_property(f"{way}_mb_per_s", round(rates[way] / MB, 1))

    demand(rates, DEMANDED, sizes)


@pytest.mark.concurrent
def test_concurrent_operations(files: FileClient, prefix: str) -> None:
    """Files that are stored and read at the same time are each what was sent."""
    contents = {f"{prefix}-{seed}": Content(seed, MB + seed) for seed in range(10)}

    def there_and_back(name: str) -> tuple[int, str]:
        files.upload(name, contents[name])
        return files.download(name)

    with ThreadPoolExecutor(10) as threads:
        found = dict(zip(contents, threads.map(there_and_back, contents), strict=True))

    assert found == {name: (content.size, content.sha256()) for name, content in contents.items()}
