"""Prefect's server for one run that has none: `python -m deployments.temporary_server FD`.

Prefect would start one by itself, but not before the flow is imported, and it imports the whole server into
the flow's process for that (2.4 s of CPU time). Started from here the server begins first, on a socket that
listens already: what connects early is answered as soon as the server is up.
"""

import atexit
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from kvsync.ci.stages.environment import is_secret
from kvsync.testing.errors import InfrastructureError

START_S = 120.0
"""On a quiet machine with two cores it took 7 s, on a busy one far longer."""

STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class TemporaryServer:
    """A server that may still be starting, and that ends with this process."""

    url: str
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, environ: Mapping[str, str]) -> "TemporaryServer":
        """Start a server in this environment without our secrets: tests can read it.

        To be called before Prefect is imported: what is registered first is done last, and Prefect's client
        has last words for its server when the process ends.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            process = subprocess.Popen(
                [sys.executable, "-m", "deployments.temporary_server", str(listener.fileno())],
                stdin=subprocess.DEVNULL,
                env={name: value for name, value in environ.items() if not is_secret(name, value)},
                pass_fds=[listener.fileno()],
            )
            server = cls(f"http://127.0.0.1:{listener.getsockname()[1]}/api", process)
        atexit.register(server.stop)
        return server

    def await_start(self) -> None:
        """Return when it answers; raises InfrastructureError if it ends before, or takes too long."""
        try:
            httpx.get(f"{self.url}/health", timeout=START_S).raise_for_status()
        except httpx.HTTPError as exc:
            ended = self.process.poll()
            why = f"did not answer: {exc}" if ended is None else f"ended with {ended}"
            message = f"Prefect's temporary server {why}; what it printed is in the same log"
            raise InfrastructureError(message) from exc

    def stop(self) -> None:
        """End it, by force if it takes long."""
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _serve(descriptor: int) -> None:
    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(create_app(ephemeral=True, final=True), log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
