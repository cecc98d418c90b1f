"""What can be measured only inside a container; run as a program, it prints a JSON value.

It runs in the containers of gateways and engines, which kubectl enters through the kubelet and not over the
pod's network; so it works during a partition, and imports nothing but the standard library.
"""

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

CGROUP = "/sys/fs/cgroup"
"""Where a container finds its own cgroup, of version 2 or 1."""
CPU_S = 1.0
ROUNDS = 10
"""Writes that are timed, each made durable: few enough that a healthy disk needs a fraction of a second."""
CONNECT_S = 1.0
OPEN, SILENT, REFUSED = "open", "silent", "refused"

DISCARD = 9
"""A port at which no pod listens: the kernel counts the datagrams that come for it."""
DATAGRAMS = 10


def main(argv: list[str]) -> None:
    """Print what the first argument names, asked of the rest; an object with an `error` when that fails."""
    subject, *arguments = argv
    try:
        print(json.dumps(SUBJECTS[subject](*arguments)))
    except OSError as exc:
        print(json.dumps({"error": f"{type(exc).__name__}: {exc}"}))


def cores(cgroup: str = CGROUP) -> float:
    """Return how many cores the container uses, over a second."""
    used_s, began = _cpu_s(Path(cgroup)), time.monotonic()
    time.sleep(CPU_S)
    return (_cpu_s(Path(cgroup)) - used_s) / (time.monotonic() - began)


def memory(cgroup: str = CGROUP) -> int:
    """Return how many bytes the container is charged for."""
    second, first = Path(cgroup, "memory.current"), Path(cgroup, "memory/memory.usage_in_bytes")
    return int((second if second.exists() else first).read_text())


def disk_s(folder: str) -> float:
    """Return how long a few durable writes of a byte take in a folder; the file has no name."""
    with tempfile.TemporaryFile(dir=folder) as file:
        began = time.monotonic()
        for _ in range(ROUNDS):
            os.write(file.fileno(), b"x")
            os.fsync(file.fileno())
        return time.monotonic() - began


def connect(host: str, *ports: str) -> Mapping[str, str]:
    """Say of each port of a host whether a connection is OPEN, SILENT or REFUSED, or why there is none."""
    return {port: _connection(host, int(port)) for port in ports}


def send(host: str) -> int:
    """Return what `strays` does, and then send DATAGRAMS to a host's port DISCARD, however few get there."""
    came = strays()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(DATAGRAMS):
            with suppress(OSError):  # the kernel tells who sends of a rule that drops it
                sender.sendto(b"x", (host, DISCARD))
    return came


def strays() -> int:
    """Return how many datagrams ever came to this network for ports without a listener."""
    names, numbers = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:")
    )
    return int(numbers[names.index("NoPorts")])


def _cpu_s(cgroup: Path) -> float:
    second = cgroup / "cpu.stat"
    if second.exists():
        return int(dict(line.split() for line in second.read_text().splitlines())["usage_usec"]) / 1e6
    return int((cgroup / "cpuacct/cpuacct.usage").read_text()) / 1e9


def _connection(host: str, port: int) -> str:
    try:
        with socket.create_connection((host, port), CONNECT_S):
            return OPEN
    except TimeoutError:
        return SILENT
    except ConnectionRefusedError:
        return REFUSED
    except OSError as exc:
        return f"unreachable ({exc.strerror})"


SUBJECTS: Mapping[str, Callable[..., object]] = {
    "cores": cores,
    "memory": memory,
    "disk_s": disk_s,
    "connect": connect,
    "send": send,
    "strays": strays,
}

if __name__ == "__main__":
    main(sys.argv[1:])
