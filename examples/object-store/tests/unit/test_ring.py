"""The hash ring: shares, and what moves when servers come and go."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from objectstore.ring import HashRing

KEYS = [f"chunk-{number}" for number in range(3000)]

SERVERS = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True), unique=True, min_size=1, max_size=8)


def test_an_empty_ring_has_no_owner() -> None:
    """Without servers there is nowhere to go."""
    assert HashRing([]).walk("chunk") == []


@settings(max_examples=25)
@given(SERVERS, st.text())
def test_a_walk_meets_every_server_once(servers: list[str], key: str) -> None:
    """Every key has all servers in an order, whatever order they were given in."""
    walk = HashRing(servers).walk(key)

    assert sorted(walk) == sorted(servers)
    assert HashRing(reversed(servers)).walk(key) == walk


@settings(max_examples=25)
@given(SERVERS, st.text())
def test_a_server_that_goes_changes_no_order(servers: list[str], key: str) -> None:
    """What is left of a walk without a server is the walk without it: nothing else moves."""
    gone = servers[0]

    left = [each for each in HashRing(servers).walk(key) if each != gone]

    assert HashRing(servers[1:]).walk(key) == left


def test_servers_have_like_shares() -> None:
    """No server of three has less than a quarter of the chunks."""
    ring = HashRing(["storage-1", "storage-2", "storage-3"])

    shares = Counter(ring.walk(key)[0] for key in KEYS)

    assert min(shares.values()) > len(KEYS) / 4
