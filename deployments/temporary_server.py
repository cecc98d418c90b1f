"""Prefect's server for one run that has none.

Prefect would start one by itself, as a program of its own that imports all of Prefect again. This one is
forked from the flow's process when that has imported what both need and has no thread yet. So what each needs
alone is imported at the same time, and what both need once: half of 2.4 s of CPU time.
"""

import atexit
import gc
import multiprocessing
import os
import signal
import socket
from dataclasses import dataclass
from multiprocessing.context import ForkProcess

import httpx

from deployments.bare_server import import_bare
from deployments.database import FILE, lay_out
from kvsync.ci.interruption import end_with_parent
from kvsync.testing.errors import InfrastructureError

START_S = 120.0
"""On a quiet machine with two cores it took 2 s, on a busy one far longer."""

STOP_S = 5.0

OWN = {
    "server.api.auth_string": None,
    "server.register_blocks_on_start": False,
    "server.services.triggers.enabled": False,
    "server.services.task_run_recorder.batch_size": 100,
    "server.services.task_run_recorder.flush_interval": 1.0,
}
"""Whatever the environment says of others. Blocks are registered by the next server that is to have them.
What becomes of tasks is written down once a second and at the end, not in a transaction each."""


@dataclass(frozen=True, slots=True)
class TemporaryServer:
    """A server that may still be starting, and that ends with this process."""

    url: str
    process: ForkProcess

    @classmethod
    def start(cls) -> "TemporaryServer":
        """Fork a server that listens already: what connects early is answered as soon as it is up.

        To be called before Prefect's client is used: what is registered first is done last, and the client
        has last words for its server when the process ends.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            process = multiprocessing.get_context("fork").Process(
                target=_serve, args=(listener, os.getpid()), daemon=True
            )
            process.start()
            server = cls(f"http://127.0.0.1:{listener.getsockname()[1]}/api", process)
        atexit.register(server.stop)
        return server

    @property
    def client_settings(self) -> dict[str, str | bool]:
        """Prefect's settings for a client of this server, which is of its version and has no password."""
        return {
            "api.url": self.url,
            "client.csrf_support_enabled": False,
            "client.server_version_check_enabled": False,
        }

    def await_start(self) -> None:
        """Return when it answers; raises InfrastructureError if it ends before, or takes too long."""
        try:
            httpx.get(f"{self.url}/health", timeout=START_S).raise_for_status()
        except httpx.HTTPError as exc:
            self.process.join(0)
            ended = self.process.exitcode
            why = f"did not answer: {exc}" if ended is None else f"ended with {ended}"
            message = f"Prefect's temporary server {why}; what it printed is in the same log"
            raise InfrastructureError(message) from exc

    def stop(self) -> None:
        """End it, by force if it takes long."""
        self.process.terminate()
        self.process.join(STOP_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(listener: socket.socket, parent: int) -> None:
    if not end_with_parent(parent, signal.SIGTERM):
        return
    server = import_bare()
    import uvicorn
    from prefect.settings import get_current_settings, temporary_settings

    home = get_current_settings().home
    database = {
        "server.database.connection_url": f"sqlite+aiosqlite:///{home / FILE}",
        "server.database.migrate_on_start": not lay_out(home),
    }
    with temporary_settings({**OWN, **database}):
        app = server.create_app(ephemeral=True)
        gc.freeze()
        gc.enable()  # which it was not while all this was imported
        uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on")).run(sockets=[listener])
