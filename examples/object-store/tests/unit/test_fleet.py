"""Which servers take chunks, and which are asked for them."""

from objectstore.fleet import RESERVE_BYTES, Fleet, Server


def server(
    name: str, *, silent_s: float | None = 0.5, is_leaving: bool = False, free: int = 10**12
) -> Server:
    """Return a server that takes chunks, unless told otherwise."""
    return Server(
        id=name,
        address=f"{name}:9000",
        is_leaving=is_leaving,
        free_bytes=free,
        total_bytes=10**13,
        silent_s=silent_s,
    )


def test_a_heartbeat_expires() -> None:
    """A server that has not answered for as long as the expiry, or ever, is not alive."""
    fleet = Fleet(
        [server("a", silent_s=2.9), server("b", silent_s=3.0), server("c", silent_s=None)], expiry_s=3
    )

    assert fleet.ring.servers == {"a"}
    assert [fleet.is_alive(fleet.servers[each]) for each in "abc"] == [True, False, False]


def test_a_server_that_leaves_gets_no_more_chunks() -> None:
    """It is not in the ring, but still read from."""
    fleet = Fleet([server("a", is_leaving=True), server("b")], expiry_s=3)

    assert fleet.ring.servers == {"b"}
    assert fleet.readable(["a", "b"]) == ["a", "b"]


def test_a_full_disk_gets_no_more_chunks() -> None:
    """A reserve stays free."""
    fleet = Fleet([server("a", free=RESERVE_BYTES), server("b", free=RESERVE_BYTES + 1)], expiry_s=3)

    assert fleet.ring.servers == {"b"}


def test_servers_that_are_alive_are_asked_first() -> None:
    """The others after them: a heartbeat may only be late. Those that are unknown cannot be asked."""
    fleet = Fleet([server("a", silent_s=9), server("b"), server("c")], expiry_s=3)

    assert fleet.readable(["a", "x", "c", "b"]) == ["c", "b", "a"]
