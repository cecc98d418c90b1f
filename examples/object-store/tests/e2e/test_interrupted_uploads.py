"""Uploads that do not come to their end: nothing is seen of them, and nothing is left."""

import socket
from collections.abc import Iterator

import pytest
from chunk_client import parts
from client import FileClient, Tables, eventually
from cluster import Cluster, Program
from content import Content
from sizes import MB

CHUNK = 256 * 1024
"""Small, so that what has come is on the servers soon."""


@pytest.fixture
def gateway(own_cluster: Cluster) -> tuple[Program, FileClient]:
    """Give a gateway with two storage servers, a and b, and small chunks."""
    for server in ("a", "b"):
        own_cluster.storage(server)
    words = ("--chunk-bytes", str(CHUNK), "--stall-s", "1", "--stale-s", "3")
    return own_cluster.gateway(*words, servers=["a", "b"])


class Upload:
    """An upload of 10 MB that stops in the middle."""

    def __init__(self, files: FileClient, tables: Tables, name: str) -> None:
        address = files.http.base_url
        self.socket = socket.create_connection((address.host, address.port or 80), timeout=30)
        head = f"PUT /files/{name} HTTP/1.1\r\nhost: store\r\ncontent-length: {10 * MB}\r\n\r\n"
        self.socket.sendall(head.encode() + Content(1, 2 * MB).read())
        eventually(lambda: len(tables.chunks(name)) >= 2, "the first chunks are on their way")

    def __enter__(self) -> "Upload":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def is_gone(own_cluster: Cluster, name: str) -> bool:
    """Say whether neither metadata nor chunks of a file are left on any server."""
    tables = own_cluster.tables
    counts = [own_cluster.chunk_client(each).health().chunks for each in ("a", "b")]
    return not tables.states(name) and not any(counts)


def test_client_disconnect(own_cluster: Cluster, gateway: tuple[Program, FileClient]) -> None:
    """A client that leaves leaves nothing: the file is not visible, and its chunks go."""
    _, files = gateway
    with Upload(files, own_cluster.tables, "left"):
        assert files.status("GET", "/files/left") == 404

    eventually(lambda: is_gone(own_cluster, "left"), "all of it is gone")
    assert files.names() == []


def test_interrupted_overwrite(own_cluster: Cluster, gateway: tuple[Program, FileClient]) -> None:
    """A file keeps what it was when its replacement does not come to its end."""
    _, files = gateway
    content = Content(2, MB)
    files.upload("kept", content)
    with Upload(files, own_cluster.tables, "kept"):
        assert files.download("kept") == (content.size, content.sha256())

    eventually(lambda: own_cluster.tables.states("kept") == ["visible"], "the rest is gone")
    assert files.download("kept") == (content.size, content.sha256())


def test_server_crash_recovery(own_cluster: Cluster) -> None:
    """A storage server that is killed while a chunk comes in has its whole chunks again, and nothing else."""
    killed = own_cluster.storage("a")
    whole, half = Content(3, MB), Content(4, 2 * MB)
    chunks = own_cluster.chunk_client("a")
    chunks.put("whole", whole)
    incoming = own_cluster.chunks("a") / "incoming"

    def until_killed() -> Iterator[bytes]:
        yield half.read()
        eventually(lambda: any(each.stat().st_size for each in incoming.iterdir()), "half of it is written")
        killed.kill()
        yield b"the rest"

    with pytest.raises(Exception, match="UNAVAILABLE"):
        chunks.send(parts("half", until_killed()))
    assert len(list(incoming.iterdir())) == 1
    own_cluster.storage("a")

    again = own_cluster.chunk_client("a")
    assert again.get("whole") == whole.read()
    assert not again.has("half")
    assert list(incoming.iterdir()) == []


def test_network_timeout(own_cluster: Cluster, gateway: tuple[Program, FileClient]) -> None:
    """A client of which nothing more comes is told so, and its upload is given up."""
    _, files = gateway
    with Upload(files, own_cluster.tables, "stalled") as upload:
        answer = upload.socket.recv(4096)

    assert answer.startswith(b"HTTP/1.1 408")
    eventually(lambda: is_gone(own_cluster, "stalled"), "all of it is gone")


def test_cleanup_job(own_cluster: Cluster, gateway: tuple[Program, FileClient]) -> None:
    """What a gateway leaves that is killed during an upload is removed by the next one, and nothing else."""
    program, files = gateway
    content = Content(5, CHUNK)
    files.upload("finished", content)
    with Upload(files, own_cluster.tables, "unfinished"):
        program.kill()
    assert own_cluster.tables.states("unfinished") == ["uploading"]

    _, after = own_cluster.gateway("--stale-s", "1", servers=["a", "b"])
    eventually(lambda: not own_cluster.tables.states("unfinished"), "what was unfinished is gone")

    assert after.download("finished") == (content.size, content.sha256())
    counts = [own_cluster.chunk_client(each).health().chunks for each in ("a", "b")]
    assert counts == [1, 1]
