"""Storage servers that come, go and fail."""

import pytest
from client import FileClient, eventually
from cluster import Cluster, Program
from content import Content
from sizes import MB

CHUNK = 64 * 1024

CONTENT = Content(1, MB)
"""16 chunks."""


@pytest.fixture
def servers(own_cluster: Cluster) -> dict[str, Program]:
    """Give three storage servers, a, b and c."""
    return {each: own_cluster.storage(each) for each in "abc"}


@pytest.fixture
def files(own_cluster: Cluster, servers: dict[str, Program]) -> FileClient:
    """Give a client of a gateway that knows all three."""
    return own_cluster.gateway("--chunk-bytes", str(CHUNK), servers=list(servers))[1]


def holders(own_cluster: Cluster, name: str) -> set[str]:
    """Return all servers that have chunks of a file."""
    return {each for servers in own_cluster.tables.chunks(name).values() for each in servers}


def is_whole(files: FileClient, name: str) -> bool:
    """Say whether a file comes back as it was sent."""
    return files.download(name) == (CONTENT.size, CONTENT.sha256())


def test_dynamic_server_addition(own_cluster: Cluster) -> None:
    """A server that is added gets its share of the next chunks; what is stored stays where it is."""
    own_cluster.storage("a")
    _, files = own_cluster.gateway("--chunk-bytes", str(CHUNK), servers=["a"])
    files.upload("before", CONTENT)
    own_cluster.storage("b")
    own_cluster.chunk_client("b")

    assert files.status("PUT", "/servers/b", json={"address": own_cluster.address("b")}) == 201
    files.upload("after", CONTENT)

    assert files.ring() == ["a", "b"]
    assert holders(own_cluster, "after") == {"a", "b"}
    assert is_whole(files, "before")
    assert is_whole(files, "after")
    # The copies that were missing are made.
    eventually(lambda: holders(own_cluster, "before") == {"a", "b"}, "the first file has its copies")


def test_server_addition_refused(own_cluster: Cluster, files: FileClient) -> None:
    """A server that does not answer does not take part, nor does one without an address."""
    assert files.status("PUT", "/servers/d", json={"address": own_cluster.address("d")}) == 503
    assert files.status("PUT", "/servers/d", json={"address": "nowhere"}) == 400
    assert files.status("PUT", "/servers/d", content=b"{") == 400
    assert files.ring() == ["a", "b", "c"]


def test_server_removal(own_cluster: Cluster, servers: dict[str, Program], files: FileClient) -> None:
    """A server that is removed is empty: its chunks have as many copies as before, elsewhere."""
    files.upload("moved", CONTENT)
    held = sum("a" in each for each in own_cluster.tables.chunks("moved").values())

    answer = files.http.delete("/servers/a", timeout=60)

    assert answer.json() == {"moved_chunks": held}
    assert held > 0
    assert files.ring() == ["b", "c"]
    assert own_cluster.chunk_client("a").health().chunks == 0
    assert all(sorted(each) == ["b", "c"] for each in own_cluster.tables.chunks("moved").values())
    servers["a"].kill()
    files.upload("later", CONTENT)
    assert is_whole(files, "moved")
    assert holders(own_cluster, "later") == {"b", "c"}
    assert files.status("DELETE", "/servers/a") == 404


def test_last_server_removal_refused(own_cluster: Cluster) -> None:
    """The last server cannot be removed while it has chunks."""
    own_cluster.storage("a")
    _, files = own_cluster.gateway(servers=["a"])
    files.upload("kept", CONTENT)

    assert files.status("DELETE", "/servers/a") == 409
    assert is_whole(files, "kept")


def test_failover(own_cluster: Cluster, servers: dict[str, Program], files: FileClient) -> None:
    """When a server fails, files are read and written as before, and copies are made anew."""
    files.upload("before", CONTENT)
    assert holders(own_cluster, "before") == {"a", "b", "c"}

    servers["a"].kill()

    assert is_whole(files, "before")
    files.upload("during", CONTENT)
    assert is_whole(files, "during")

    def copies() -> list[int]:
        return [len({*each} - {"a"}) for each in own_cluster.tables.chunks("before").values()]

    eventually(lambda: copies() == [2] * 16, "every chunk has two copies on the others")
    servers["b"].kill()
    assert is_whole(files, "before")


def test_lost_chunk(own_cluster: Cluster, servers: dict[str, Program], files: FileClient) -> None:
    """Chunks of which no copy is left do not keep the others from getting theirs."""
    files.upload("partly", CONTENT)
    own_cluster.storage("d")
    own_cluster.chunk_client("d")

    for server in ("a", "b"):
        servers[server].kill()
    eventually(lambda: files.ring() == ["c"], "only c is left")
    files.http.put("/servers/d", json={"address": own_cluster.address("d")}).raise_for_status()

    def saved() -> list[bool]:
        return ["d" in each for each in own_cluster.tables.chunks("partly").values() if "c" in each]

    assert 0 < len(saved()) < 16
    eventually(lambda: all(saved()), "what c has is on d, too")


def test_deletion_without_a_server(
    own_cluster: Cluster, servers: dict[str, Program], files: FileClient
) -> None:
    """What a server has of a removed file goes when the server is back."""
    files.upload("removed", CONTENT)
    servers["a"].kill()
    eventually(lambda: files.ring() == ["b", "c"], "a is out of the ring")
    files.delete("removed")

    own_cluster.storage("a")

    eventually(lambda: not own_cluster.tables.states("removed"), "it is forgotten")
    assert [own_cluster.chunk_client(each).health().chunks for each in "abc"] == [0, 0, 0]


def test_small_removal_beside_a_large_one(own_cluster: Cluster, files: FileClient) -> None:
    """What a small file leaves does not wait until all of a large one is gone."""
    many = 50_000
    files.upload("small", CONTENT)
    own_cluster.tables.rows(
        "WITH large AS (INSERT INTO object (id, name, content_type, state, changed_at) VALUES "
        "(gen_random_uuid(), 'large', 'text/plain', 'deleted', now() - interval '1 hour') RETURNING id) "
        "INSERT INTO chunk SELECT id, number, 1, 0, '{a}' "
        "FROM large, generate_series(1, %s) number RETURNING 1",
        many,
    )
    files.delete("small")

    eventually(lambda: not own_cluster.tables.states("small"), "it is forgotten")
    assert 0 < len(own_cluster.tables.chunks("large")) < many


def test_damaged_chunk(own_cluster: Cluster, servers: dict[str, Program], files: FileClient) -> None:
    """A chunk whose bytes changed on a disk is read from its other copy, and never given out."""
    files.upload("damaged", CONTENT)
    found = [each for each in own_cluster.chunks("a").rglob("chunks/*/*") if each.is_file()]
    for each in found:
        each.write_bytes(b"x" * each.stat().st_size)

    assert found
    assert is_whole(files, "damaged")
    for server in ("b", "c"):
        servers[server].kill()
    assert files.status("GET", "/files/damaged") == 503


def test_heartbeat_monitoring(own_cluster: Cluster, servers: dict[str, Program], files: FileClient) -> None:
    """A server that does not answer is out of the ring until it answers again; disk space is known."""
    known = files.servers()["a"]
    assert 0 < known["free_bytes"] <= known["total_bytes"]

    servers["a"].pause()
    eventually(lambda: files.ring() == ["b", "c"], "a is out of the ring")
    assert not files.servers()["a"]["is_alive"]
    files.upload("without", CONTENT)
    assert holders(own_cluster, "without") == {"b", "c"}

    servers["a"].resume()
    eventually(lambda: files.ring() == ["a", "b", "c"], "a is back")


def test_hash_ring_refresh(own_cluster: Cluster, files: FileClient) -> None:
    """Another gateway on the same database sees servers come and go, without being told."""
    _, other = own_cluster.gateway(servers=[])
    eventually(lambda: other.ring() == ["a", "b", "c"], "the other gateway knows all")
    own_cluster.storage("d")
    own_cluster.chunk_client("d")

    files.http.put("/servers/d", json={"address": own_cluster.address("d")}).raise_for_status()
    eventually(lambda: other.ring() == ["a", "b", "c", "d"], "the other gateway has the new server")

    files.http.delete("/servers/a").raise_for_status()
    eventually(lambda: other.ring() == ["b", "c", "d"], "the other gateway has it no more")
    assert "a" not in other.servers()
