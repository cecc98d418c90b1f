"""Ports for servers that are about to be started."""

import random
import socket
from contextlib import ExitStack
from pathlib import Path

from kvsync.ci.services.service import HOST

LOWEST = 10_000
"""Below are the ports that programs are known by."""

OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST_OUTGOING = 32_768
"""Where the system does not say it; elsewhere than on Linux the range begins later."""

ENOUGH = 1000
"""Of fewer ports, two programs too often choose the same."""

TRIES = 100


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on; another program may take one before it is used.

    They are none that the system gives to connections: on a busy machine one of these soon has it, before the
    server listens, or while that is started again.
    """
    with ExitStack() as stack:
        held = [stack.enter_context(_listener()) for _ in range(count)]
        return [each.getsockname()[1] for each in held]


def _listener() -> socket.socket:
    numbers = range(LOWEST, _outgoing())
    for _ in range(TRIES if len(numbers) >= ENOUGH else 0):
        try:
            return socket.create_server((HOST, random.choice(numbers)))  # noqa: S311 - no secret
        except OSError:
            continue
    return socket.create_server((HOST, 0))


def _outgoing() -> int:
    """Return the first port that the system gives to connections."""
    try:
        return int(OUTGOING.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return LOWEST_OUTGOING
