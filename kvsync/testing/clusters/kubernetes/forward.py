"""A port of this machine's loopback whose connections end at a port of a pod, through the API server.

Each connection is a WebSocket of its own, so that one that a fault resets does not take others with it, as it
does with `kubectl port-forward`. The pod's port is dialled inside the pod: it may listen on its loopback alone.
"""

import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kubernetes.client import ApiException, CoreV1Api
from kubernetes.config import new_client_from_config
from kubernetes.stream import portforward

from kvsync.testing.clusters.kubernetes.machine import Machine

PIECE_BYTES = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@contextmanager
def forwarded(machine: Machine, namespace: str, pod: str, port: int, at: tuple[str, int]) -> Iterator[None]:
    """Lead connections to a host and port of this machine to a port of a pod. Raises OSError."""
    with _Forward(machine, namespace, pod, port, at) as server:
        thread = threading.Thread(target=server.serve_forever, name=f"forward {pod}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()


class _Forward(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, machine: Machine, namespace: str, pod: str, port: int, at: tuple[str, int]) -> None:
        self._namespace, self._pod, self._port = namespace, pod, port
        # A client of its own, one call at a time: the library changes it while it opens a WebSocket.
        self._core, self._lock = (
            CoreV1Api(new_client_from_config(machine.kubeconfig or None, machine.context or None)),  # type: ignore[no-untyped-call]  # has no types
            threading.Lock(),
        )
        super().__init__(at, _Connection)

    def connect(self) -> socket.socket:
        """Open a connection to the pod. Raises ApiException."""
        with self._lock:
            tunnel = portforward(
                self._core.connect_get_namespaced_pod_portforward,
                self._pod,
                self._namespace,
                ports=str(self._port),
            )
        found: socket.socket = tunnel.socket(self._port)
        return found


class _Connection(socketserver.BaseRequestHandler):
    server: _Forward
    request: socket.socket

    def handle(self) -> None:
        """Pass on what either side says until one of them has ended."""
        try:
            far = self.server.connect()
        except (ApiException, OSError):
            self._reset()
            return
        back = threading.Thread(target=_pass_on, args=(far, self.request), daemon=True)
        back.start()
        _pass_on(self.request, far)
        back.join()
        far.close()

    def _reset(self) -> None:
        """Let the client see that nobody is there, and not an end that was meant."""
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.request.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            target.sendall(piece)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
