"""Addresses for local pods: one loopback address each on Linux, own ports on 127.0.0.1 elsewhere.

Linux answers on all of 127.0.0.0/8, so a pod can have the standard ports on an address of its own, and a
new address when it "moves". Other systems have 127.0.0.1 only.
"""

import random
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass

from kvsync.testing.errors import ClusterError

_TRIES = 200
"""Addresses looked at before giving up: more than a machine full of test runs occupies in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where one pod listens: an engine's customary ports, and one more for its admin interface."""

    host: str
    port: int = 8000
    event_port: int = 5557
    replay_port: int = 5558
    admin_port: int = 9000

    @property
    def ports(self) -> tuple[int, ...]:
        """All of its ports."""
        return self.port, self.event_port, self.replay_port, self.admin_port


class LoopbackBlock:
    """A supply of addresses on which nothing listens; where it begins depends on the seed.

    `own_hosts` says whether every loopback address can be bound; it is an argument for the tests.
    """

    def __init__(self, seed: int | str, *, own_hosts: bool = sys.platform == "linux") -> None:
        self._own_hosts = own_hosts
        self._given: set[int] = set()  # ports of addresses that share a host
        # 127.0.x.y stays free for people; the last number is never 0 or 255.
        self._position = random.Random(seed).randrange(254 * 256 * 254)  # noqa: S311 - no secret

    def next(self) -> Address:
        """Give an address not given before, all of whose ports can be bound now. Raises ClusterError."""
        for _ in range(_TRIES):
            address = self._own() if self._own_hosts else _free_ports()
            if self._given.isdisjoint(address.ports) and _can_bind(address):
                if not self._own_hosts:
                    self._given.update(address.ports)
                return address
        raise ClusterError(f"none of {_TRIES} loopback addresses up to {address.host} is free; stop old runs")

    def _own(self) -> Address:
        high, low = divmod(self._position, 254)
        self._position = (self._position + 1) % (254 * 256 * 254)
        return Address(host=f"127.{1 + high // 256}.{high % 256}.{1 + low}")


def _free_ports() -> Address:
    """Let the system choose; the ports are held together, so they differ."""
    with ExitStack() as held:
        ports = []
        for _ in range(4):
            listener = held.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            ports.append(int(listener.getsockname()[1]))
        port, event_port, replay_port, admin_port = ports
    return Address(
        host="127.0.0.1",
        port=port,
        event_port=event_port,
        replay_port=replay_port,
        admin_port=admin_port,
    )


def _can_bind(address: Address) -> bool:
    for port in address.ports:
        with socket.socket() as probe:
            # Without it, connections that a former run closed keep the port busy for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address.host, port))
            except OSError:
                return False
    return True
