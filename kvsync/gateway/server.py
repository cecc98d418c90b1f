"""The gateway as a process: its port, its signals and its end."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator

import uvicorn

from kvsync import core, stdin
from kvsync.access.certificates import ServerCertificate
from kvsync.access.files import follow
from kvsync.config import GatewayConfig
from kvsync.errors import ConfigError
from kvsync.gateway.app import create_apps
from kvsync.gateway.clients.connection import connections
from kvsync.gateway.doors.exposure import exposure
from kvsync.gateway.siblings import ALONE, Worker
from kvsync.indexer.listening import SignallessServer, listen
from kvsync.indexer.program import note_room

log = logging.getLogger(__name__)

LAST_WORDS_S = 0.2
"""What a request that is ended at once has for its answer; a client that does not read is not waited for."""

OPERATORS_S = 1
"""What an operator's running request has to end once the clients' have ended."""


async def serve(config: GatewayConfig, *, exit_with_stdin: bool = False, worker: Worker = ALONE) -> None:
    """Run the gateway, or one of its workers, until SIGINT, SIGTERM or, if wanted, the end of standard input.

    A second SIGINT ends it at once, whatever still runs. Raises PortInUse or ConfigError when the address
    cannot be bound.
    """
    core.choose(config.core)
    server = Server(config, worker)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.stop)
    loop.add_signal_handler(signal.SIGINT, server.interrupt)
    if exit_with_stdin:
        stdin.on_end(lambda: loop.call_soon_threadsafe(server.stop))
    for warning in filter(None, (*config.warnings, exposure(config))):
        log.warning(warning)
    note_room(config)
    log.info("gateway on %s", server.url)
    if server.admin_url:
        log.info("operators' routes on %s, where no key is needed", server.admin_url)
    await server.run()
    log.info("gateway stopped")


class Server:
    """A gateway that listens as soon as it is made and serves while `run` runs."""

    def __init__(self, config: GatewayConfig, worker: Worker = ALONE) -> None:
        tls = config.access.tls
        self._certificate = ServerCertificate(tls) if tls else None
        clients, operators = create_apps(config, worker=worker)
        inherited = [socket.socket(fileno=file) for file in worker.files]
        self._listener, *others = inherited or listeners_of(config)
        self._web = _Web(
            uvicorn.Config(
                clients,
                http=connections(config.clients),  # type: ignore[arg-type]
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=config.clients.keep_alive_s,
                timeout_graceful_shutdown=config.clients.drain_s,
                ssl_context_factory=self._context if tls else None,
            )
        )
        self._admin: SignallessServer | None = None
        if operators:
            (self._admin_listener,) = others
            self._admin = SignallessServer(
                uvicorn.Config(
                    operators,
                    http=connections(config.clients),  # type: ignore[arg-type]
                    ws="none",
                    lifespan="off",
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    timeout_graceful_shutdown=OPERATORS_S,
                )
            )

    @property
    def url(self) -> str:
        """Where it listens; with port 0 in the configuration, the port that was free."""
        return _url("https" if self._certificate else "http", self._listener)

    @property
    def admin_url(self) -> str:
        """Where the operators' own port is; empty: there is none."""
        return _url("http", self._admin_listener) if self._admin else ""

    async def run(self) -> None:
        """Serve until `stop` is called; running requests get a moment to end.

        Raises SystemExit when a background task failed, which is a defect: the log shows it.
        """
        async with asyncio.TaskGroup() as tasks:
            if self._admin:
                tasks.create_task(self._admin.serve(sockets=[self._admin_listener]))
            renewal = tasks.create_task(self._renew())
            await self._web.serve(sockets=[self._listener])
            # Last, so that operators see how the gateway ends.
            renewal.cancel()
            if self._admin:
                self._admin.should_exit = True
        if self._web.lifespan.error_occurred:
            raise SystemExit(1)

    def _context(self, *_: object) -> ssl.SSLContext:
        assert self._certificate is not None
        return self._certificate.context

    async def _renew(self) -> None:
        if self._certificate:
            await follow("access.tls", self._certificate.files, self._certificate.read)

    def stop(self) -> None:
        """Make `run` end when the running requests have, or their time is over."""
        self._web.should_exit = True

    def interrupt(self) -> None:
        """Make `run` end; at once, if it has been asked to before."""
        if self._web.should_exit:
            self._web.hurry()
        self.stop()


def listeners_of(config: GatewayConfig) -> list[socket.socket]:
    """Listen at the clients' port, and at the operators' if they have one. Raises PortInUse, ConfigError."""
    admin = config.access.admin
    if admin and admin.port == config.port and admin.host in (None, config.host):
        raise ConfigError("gateway", [f"access.admin.port has to be another one than port: {config.port}"])
    first = listen(config.host, config.port)
    return [first, listen(admin.host or config.host, admin.port)] if admin else [first]


def url_of(config: GatewayConfig, listener: socket.socket) -> str:
    """Return where clients find a listener."""
    return _url("https" if config.access.tls else "http", listener)


def _url(scheme: str, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextlib.asynccontextmanager
async def running(config: GatewayConfig) -> AsyncIterator[str]:
    """A gateway that serves within the block, in this event loop; gives its URL."""
    server = Server(config)
    task = asyncio.create_task(server.run())
    try:
        yield server.url
    finally:
        server.stop()
        await task


class _Web(SignallessServer):
    """One that also ends when a background task fails, and at once if it has to."""

    def hurry(self) -> None:
        """End what still runs: requests are told so, and connections cut that are not closed then.

        uvicorn's `force_exit` would leave the application's tasks to the end of the loop, which prints them.
        """
        for task in self.server_state.tasks:
            task.cancel()
        asyncio.get_running_loop().call_later(LAST_WORDS_S, self._cut)

    def _cut(self) -> None:
        for connection in [*self.server_state.connections]:
            connection.transport.abort()

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self.lifespan.error_occurred
