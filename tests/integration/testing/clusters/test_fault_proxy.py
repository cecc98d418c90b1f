"""The fault proxy does to real connections what its rules say."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from kvsync.errors import PortInUse
from kvsync.testing.clusters.local.fault_proxy import CLEAR, SILENT, FaultProxy, Listener, Rules
from kvsync.testing.processes.wait import wait_for

HOST = "127.0.0.1"


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """A running proxy."""
    with FaultProxy(seed=1) as running:
        yield running


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """The address of a server that sends back what it receives."""
    with socket.create_server((HOST, 0)) as server:

        def serve(connection: socket.socket) -> None:
            with connection:
                try:
                    while chunk := connection.recv(65536):
                        connection.sendall(chunk)
                except ConnectionError:
                    return

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)


def connect(listener: Listener, timeout_s: float = 5.0) -> socket.socket:
    """A connection to the listener."""
    return socket.create_connection((listener.host, listener.port), timeout=timeout_s)


def exchange(connection: socket.socket, sent: bytes) -> bytes:
    """Send bytes to the echo server and read as many back."""
    connection.sendall(sent)
    return read(connection, len(sent))


def read(connection: socket.socket, count: int) -> bytes:
    """Read this many bytes, fewer at the end of the stream."""
    received = b""
    while len(received) < count and (chunk := connection.recv(count - len(received))):
        received += chunk
    return received


def test_a_clear_proxy_passes_everything_on(proxy: FaultProxy, echo: tuple[str, int]) -> None:
    """Without rules all bytes arrive in both directions, and the end of the stream after them."""
    listener = proxy.listen(HOST, 0, echo)
    sent = bytes(range(256)) * 4096
    with connect(listener) as connection:
        writer = threading.Thread(target=connection.sendall, args=(sent,))
        writer.start()
        received = read(connection, len(sent))
        writer.join()
        connection.shutdown(socket.SHUT_WR)
        rest = connection.recv(1)

    assert received == sent
    assert rest == b""
    assert listener.counters().passed_bytes == {"up": len(sent), "down": len(sent)}


def test_a_refusing_listener_refuses_until_cleared(proxy: FaultProxy, echo: tuple[str, int]) -> None:
    """Connecting fails at once while refused, open connections live on, and the port comes back."""
    listener = proxy.listen(HOST, 0, echo)
    with connect(listener) as before:
        exchange(before, b"accepted")
        listener.apply(Rules(refuse=True))
        with pytest.raises(ConnectionRefusedError):
            connect(listener)
        assert exchange(before, b"open") == b"open"

    listener.apply(CLEAR)
    with connect(listener) as after:
        assert exchange(after, b"again") == b"again"


def test_a_stalled_connection_is_silent_and_then_catches_up(proxy: FaultProxy, echo: tuple[str, int]) -> None:
    """What was sent during a stall arrives after it, in order, on the same connection."""
    listener = proxy.listen(HOST, 0, echo)
    with connect(listener) as connection:
        assert exchange(connection, b"a") == b"a"
        listener.apply(SILENT)
        connection.sendall(b"b")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(5)
        listener.apply(CLEAR)

        assert exchange(connection, b"c") == b"b"
        assert connection.recv(1) == b"c"


def test_one_direction_can_be_stalled(proxy: FaultProxy, echo: tuple[str, int]) -> None:
    """With the way back stalled, bytes still reach the target."""
    listener = proxy.listen(HOST, 0, echo, Rules(stall=frozenset({"down"})))
    with connect(listener) as connection:
        connection.sendall(b"abc")
        wait_for(
            lambda: listener.counters().passed_bytes["up"] == 3, what="three bytes at the target", timeout_s=5
        )

        assert listener.counters().passed_bytes["down"] == 0


def test_delay_is_added_to_each_direction(proxy: FaultProxy, echo: tuple[str, int]) -> None:
    """A round trip takes at least the delay twice, and bytes sent together stay together."""
    delay_s, jitter_s = 0.1, 0.02
    listener = proxy.listen(HOST, 0, echo, Rules(delay_s=delay_s, jitter_s=jitter_s))
    with connect(listener) as connection:
        began = time.monotonic()
        assert exchange(connection, b"ping") == b"ping"
        took_s = time.monotonic() - began

    assert took_s >= 2 * (delay_s - jitter_s)


def test_throughput_is_bounded(proxy: FaultProxy, echo: tuple[str, int]) -> None:
    """A transfer does not take less time than a limit of bytes per second lets it."""
    bytes_per_s, sent = 100_000, 20_000
    listener = proxy.listen(HOST, 0, echo, Rules(bytes_per_s=bytes_per_s))
    with connect(listener) as connection:
        began = time.monotonic()
        exchange(connection, b"x" * sent)

        assert time.monotonic() - began >= sent / bytes_per_s


def test_a_cut_resets_open_connections_only(proxy: FaultProxy, echo: tuple[str, int]) -> None:
    """A cut connection ends with a reset, also while it is stalled; the next one works."""
    listener = proxy.listen(HOST, 0, echo)
    with connect(listener) as connection:
        exchange(connection, b"a")
        listener.apply(SILENT)
        listener.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)

    listener.apply(CLEAR)
    with connect(listener) as connection:
        assert exchange(connection, b"b") == b"b"
    assert listener.counters().cut == 1


def test_connections_cut_at_once_leave_no_socket_open(proxy: FaultProxy, echo: tuple[str, int]) -> None:
    """However early a connection is cut, its client is told and its socket closed."""
    listener = proxy.listen(HOST, 0, echo)
    for _ in range(20):
        with connect(listener) as connection:
            listener.apply(Rules(refuse=True))
            listener.cut()
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        listener.apply(CLEAR)


def test_corruption_flips_bytes_and_is_counted(proxy: FaultProxy, echo: tuple[str, int]) -> None:
    """Each passage of a chunk flips some bytes in a row; flipped twice, one byte is what it was."""
    listener = proxy.listen(HOST, 0, echo, Rules(corrupt=1.0))
    with connect(listener) as connection:
        assert exchange(connection, b"a") == b"a"
        assert exchange(connection, bytes(1000)).count(b"\xff") == 32
    assert listener.counters().corrupted == 4


def test_new_connections_go_to_the_new_target(proxy: FaultProxy, echo: tuple[str, int]) -> None:
    """Before a listener has a living target it resets connections; retargeted, it serves."""
    with socket.create_server((HOST, 0)) as nobody:
        dead = nobody.getsockname()
    listener = proxy.listen(HOST, 0, dead)
    with pytest.raises(ConnectionResetError), connect(listener) as connection:
        connection.recv(1)

    listener.retarget(echo)
    with connect(listener) as connection:
        assert exchange(connection, b"a") == b"a"


def test_a_taken_port_is_named(proxy: FaultProxy, echo: tuple[str, int]) -> None:
    """Listening where somebody listens already says which address it is."""
    with pytest.raises(PortInUse, match=rf"{echo[0]}:{echo[1]} is in use"):
        proxy.listen(HOST, echo[1], echo)


def test_leaving_the_proxy_frees_the_port(echo: tuple[str, int]) -> None:
    """After the context nothing listens, and open connections have been reset."""
    with FaultProxy() as proxy:
        listener = proxy.listen(HOST, 0, echo)
        connection = connect(listener)
        exchange(connection, b"a")

    with connection, pytest.raises(ConnectionResetError):
        connection.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(listener)
