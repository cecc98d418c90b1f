"""The hash ring that says which storage servers a chunk belongs on. Pure.

Each server stands at many points of a circle, each chunk at one; it belongs to the servers that are met first
when one goes on from there. A server that comes or goes moves only what was next to its points.
"""

from bisect import bisect
from collections.abc import Iterable
from hashlib import blake2b

POINTS = 128
"""Of each server: the shares of three servers then differ by about a tenth."""


class HashRing:
    """The ring of a set of servers; it does not change."""

    def __init__(self, servers: Iterable[str]) -> None:
        self.servers = frozenset(servers)
        stands = sorted((_place(f"{server}#{n}"), server) for server in self.servers for n in range(POINTS))
        self._places = [place for place, _ in stands]
        self._owners = [server for _, server in stands]

    def walk(self, key: str) -> list[str]:
        """Return all servers in the order in which they are met from the place of a key."""
        start = bisect(self._places, _place(key))
        return list(dict.fromkeys(self._owners[start:] + self._owners[:start]))


def _place(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest())
