"""Ports for servers: free, all different, and none that a connection has by the time they listen."""

import socket
from pathlib import Path

import pytest

from kvsync.ci.services import ports
from kvsync.ci.services.ports import LOWEST, free_ports


def outgoing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str) -> None:
    """Let the system say which ports it gives to connections."""
    path = tmp_path / "ip_local_port_range"
    path.write_text(said)
    monkeypatch.setattr(ports, "OUTGOING", path)


def test_ports_are_different_and_free() -> None:
    """Each can be listened on, all at once."""
    found = free_ports(20)
    held = [socket.create_server(("127.0.0.1", port)) for port in found]
    for each in held:
        each.close()
    assert len(set(found)) == 20


def test_no_connection_gets_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are below the ports that the system gives to connections."""
    outgoing(monkeypatch, tmp_path, "20000\t60999\n")
    assert all(LOWEST <= port < 20_000 for port in free_ports(50))


def test_one_that_is_taken_is_not_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of two that are left, the other one."""
    outgoing(monkeypatch, tmp_path, f"{LOWEST + 2}\t60999\n")
    monkeypatch.setattr(ports, "ENOUGH", 2)
    taken, *_ = free_ports(1)
    with socket.create_server(("127.0.0.1", taken)):
        assert {free_ports(1)[0] for _ in range(20)} == {2 * LOWEST + 1 - taken}


@pytest.mark.parametrize("said", ["1024\t65535\n", "10100\t60999\n"])
def test_without_room_the_system_chooses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str) -> None:
    """A machine may give all ports to connections."""
    outgoing(monkeypatch, tmp_path, said)
    assert len(set(free_ports(5))) == 5


def test_elsewhere_nothing_says_which_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The range of Linux is left out, which is less than what others give to connections."""
    monkeypatch.setattr(ports, "OUTGOING", tmp_path / "nothing")
    assert all(LOWEST <= port < 32_768 for port in free_ports(50))
