"""What programs in containers measure, of real disks, sockets and the kernel's own counters."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kvsync.testing.faults.chaosmesh import probe


def said(*argv: str) -> object:
    """Run it as it is run in a container."""
    command = [sys.executable, "-m", "kvsync.testing.faults.chaosmesh.probe", *argv]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=50).stdout)


def test_ports_of_a_host() -> None:
    """A port lets in, refuses, or says nothing when its queue is full."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed, socket.socket() as full:
        for each in (closed, full):
            each.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            numbers = [str(each.getsockname()[1]) for each in (server, closed, full)]

            assert list(probe.connect("127.0.0.1", *numbers).values()) == ["open", "refused", "silent"]


def test_a_host_that_nobody_has() -> None:
    """Where no way leads, the kernel says why."""
    assert probe.connect("255.255.255.255", "80") == {"80": "unreachable (Network is unreachable)"}


def test_datagrams_that_nobody_listens_for_are_counted() -> None:
    """A pod counts those that it gets, also from itself."""
    before = said("send", "127.0.0.1")

    assert said("strays") >= before + probe.DATAGRAMS  # type: ignore[operator]  # ints; others may send some


def test_datagrams_that_cannot_be_sent_are_none() -> None:
    """Having no way to send one is not an error: a cut way looks like that."""
    assert probe.send("255.255.255.255") <= probe.strays()


def test_a_disk_is_timed(tmp_path: Path) -> None:
    """Durable writes take a moment and leave nothing; a folder that is not there is an error that is told."""
    took_s = said("disk_s", str(tmp_path))

    assert isinstance(took_s, float)
    assert took_s > 0
    assert not list(tmp_path.iterdir())
    (error,) = said("disk_s", f"{tmp_path}/none").values()  # type: ignore[attr-defined]  # an object
    assert error.startswith("FileNotFoundError: [Errno 2] No such file or directory")


@pytest.mark.parametrize("version", [1, 2])
def test_memory_of_a_container(version: int, tmp_path: Path) -> None:
    """Both versions of control groups say what a container is charged for."""
    path = tmp_path / {1: "memory/memory.usage_in_bytes", 2: "memory.current"}[version]
    path.parent.mkdir(exist_ok=True)
    path.write_text("104857600\n")

    assert said("memory", str(tmp_path)) == 100 << 20


@pytest.mark.parametrize("version", [1, 2])
def test_cores_of_a_container(version: int, tmp_path: Path) -> None:
    """Both versions of control groups say what a container used so far; the rise over a second counts."""
    path = tmp_path / {1: "cpuacct/cpuacct.usage", 2: "cpu.stat"}[version]
    path.parent.mkdir(exist_ok=True)
    content = {1: "{}000\n", 2: "usage_usec {}\nuser_usec 1\n"}[version]
    ended = threading.Event()

    def use_two_cores() -> None:
        while not ended.wait(0.01):
            write()

    def write() -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(content.format(int(2e6 * time.monotonic())))
        fresh.replace(path)

    write()
    using = threading.Thread(target=use_two_cores)
    using.start()
    try:
        assert probe.cores(str(tmp_path)) == pytest.approx(2.0, rel=0.4)
    finally:
        ended.set()
        using.join()
