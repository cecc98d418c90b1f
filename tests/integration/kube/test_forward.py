"""A port that leads on as WebSockets, to a server that frames them as the API server of Kubernetes does."""

import socket
import threading
from collections.abc import Iterator
from functools import partial

import pytest
from websocket import create_connection
from websockets.sync.server import ServerConnection, serve

from kvsync.ci.services.ports import free_ports
from kvsync.testing.clusters.kubernetes.forward import _through, forwarded

HOST = "127.0.0.1"
GREETING = (5432).to_bytes(2, "little")
WITHIN_S = 20.0


def answer(connection: ServerConnection) -> None:
    """Return what comes, with a ping before; end with an error when it is told to."""
    for channel in (b"\0", b"\1"):
        connection.send(channel + GREETING)
    for frame in connection:
        assert isinstance(frame, bytes)
        connection.ping()
        if frame == b"\0end":
            connection.send(b"\1connection refused")
        else:
            connection.send(frame)


def carry(url: str, near: socket.socket) -> None:
    """Pass a connection on to a server, and let go of that."""
    tunnel = create_connection(url)
    try:
        _through(tunnel, near)
    finally:
        tunnel.shutdown()  # type: ignore[no-untyped-call]  # has no types


@pytest.fixture
def near() -> Iterator[socket.socket]:
    """A connection to a port that leads to such a server."""
    (port,) = free_ports(1)
    with serve(answer, HOST, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"ws://{HOST}:{server.socket.getsockname()[1]}"
        with (
            forwarded(partial(carry, url), (HOST, port), print),
            socket.create_connection((HOST, port), WITHIN_S) as connection,
        ):
            yield connection


def test_bytes_pass_both_ways_and_pings_hold_nothing_up(near: socket.socket) -> None:
    """However many there are; the frames that greet are none of them."""
    for sent in (b"a", b"b" * 300_000, b"c"):
        threading.Thread(target=near.sendall, args=(sent,)).start()
        came = b""
        while len(came) < len(sent):
            came += near.recv(65536)
        assert came == sent


def test_an_error_of_the_far_side_ends_the_connection(near: socket.socket) -> None:
    """Such as of a port on which nothing listens."""
    near.sendall(b"end")

    assert near.recv(100) == b""
