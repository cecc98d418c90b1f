"""A port of this machine's loopback whose connections end at a port of a pod.

Each connection is a WebSocket of its own through the API server, so that one that a fault resets does not
take others with it, as it does with `kubectl port-forward`; the pod may listen on its loopback alone. To open
one costs two handshakes of TLS, with the API server and from there with the node. Ports of nodes would cost
less, but everyone who reaches the nodes reaches them, once controllers have got round to them.
"""

import selectors
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kubernetes.client import ApiException, CoreV1Api
from kubernetes.config import new_client_from_config
from kubernetes.stream import stream
from websocket import ABNF, WebSocket, WebSocketException

from kvsync.testing.clusters.kubernetes.api_errors import message
from kvsync.testing.clusters.kubernetes.machine import Machine

PIECE_BYTES = 64 * 1024

_DATA, _ERROR = 0, 1
Carry = Callable[[socket.socket], None]
"""Passes on a connection until it has ended; raises OSError, WebSocketException or ApiException."""


def through_api(machine: Machine, namespace: str, pod: str, port: int) -> Carry:
    """Return what passes connections on to a port inside a pod, through the API server."""
    client = new_client_from_config(machine.kubeconfig or None, machine.context or None)  # type: ignore[no-untyped-call]  # has no types
    # One call at a time: the library changes the client while it opens a WebSocket.
    core, lock = CoreV1Api(client), threading.Lock()

    def carry(near: socket.socket) -> None:
        with lock:
            opened: Any = stream(
                core.connect_get_namespaced_pod_portforward,
                pod,
                namespace,
                ports=str(port),
                binary=True,
                _preload_content=False,
            )
        tunnel: WebSocket = opened.sock
        try:
            _through(tunnel, near)
        finally:
            tunnel.shutdown()  # type: ignore[no-untyped-call]  # has no types

    return carry


@contextmanager
def forwarded(carry: Carry, at: tuple[str, int], say: Callable[[str], None]) -> Iterator[None]:
    """Pass on connections to a host and port of this machine; `say` is told why that is refused.

    Raises OSError when the port is in use.
    """
    with _Server(carry, at, say) as server:
        threading.Thread(target=server.serve_forever, name="forward", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, carry: Carry, at: tuple[str, int], say: Callable[[str], None]) -> None:
        self.carry, self._say, self._said = carry, say, ""
        super().__init__(at, _Connection)

    def tell(self, what: str) -> None:
        """Say it, unless that was the last that was said: clients ask again and again."""
        if what != self._said:
            self._said = what
            self._say(what)


class _Connection(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        """Pass it on to its end."""
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.server.carry(self.request)
        except ApiException as exc:
            self.server.tell(f"cannot connect to the pod: {message(exc)}")
        except (OSError, WebSocketException):
            pass  # one side broke it off


def _through(tunnel: WebSocket, near: socket.socket) -> None:
    """Pass on what both sides say until one ends, in one thread: TLS does not read and write at once.

    A frame begins with the number of its channel; the first one of each channel has the port alone.
    """
    greeted: set[int] = set()
    far = tunnel.sock
    assert far is not None
    with selectors.DefaultSelector() as selector:
        for each in (near, far):
            selector.register(each, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if near in ready:
                if not (piece := near.recv(PIECE_BYTES)):
                    return
                tunnel.send_binary(bytes([_DATA]) + piece)
            while far in ready or _has_more(far):
                ready.discard(far)
                kind, frame = tunnel.recv_data(control_frame=True)
                if kind in (ABNF.OPCODE_PING, ABNF.OPCODE_PONG):
                    continue
                if kind != ABNF.OPCODE_BINARY or not frame or (frame[0] == _ERROR and _ERROR in greeted):
                    return
                if frame[0] in greeted:
                    near.sendall(frame[1:])
                greeted.add(frame[0])


def _has_more(far: socket.socket) -> bool:
    """Say whether TLS has read more than was asked for, which no selector sees."""
    pending: Callable[[], int] = getattr(far, "pending", lambda: 0)
    return bool(pending())
