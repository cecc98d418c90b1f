"""The storage servers as metadata knows them, and which of them take chunks now. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from objectstore.ring import HashRing

RESERVE_BYTES = 64 * 1024 * 1024
"""What stays free on a disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A storage server; `silent_s` is how long ago it last answered, None for never."""

    id: str
    address: str
    is_leaving: bool
    free_bytes: int
    total_bytes: int
    silent_s: float | None


class Fleet:
    """All servers at one time. One is alive whose last heartbeat is younger than `expiry_s`."""

    def __init__(self, servers: Iterable[Server] = (), *, expiry_s: float) -> None:
        self.servers = {server.id: server for server in servers}
        self._expiry_s = expiry_s
        self.ring = HashRing(server.id for server in self.servers.values() if self._takes_chunks(server))

    def is_alive(self, server: Server) -> bool:
        """Say whether a server answered lately."""
        return server.silent_s is not None and server.silent_s < self._expiry_s

    def alive(self) -> set[str]:
        """Return the servers that answered lately."""
        return {server.id for server in self.servers.values() if self.is_alive(server)}

    def readable(self, holders: Iterable[str]) -> list[str]:
        """Return the holders of a chunk that are known, those that are alive first."""
        known = [each for each in holders if each in self.servers]
        return sorted(known, key=lambda each: not self.is_alive(self.servers[each]))

    def _takes_chunks(self, server: Server) -> bool:
        return self.is_alive(server) and not server.is_leaving and server.free_bytes > RESERVE_BYTES
