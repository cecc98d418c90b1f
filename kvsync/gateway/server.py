"""The gateway as a process: its port, its signals and its end."""

import asyncio
import contextlib
import errno
import logging
import resource
import signal
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn

from kvsync import core, stdin
from kvsync.config import GatewayConfig
from kvsync.errors import ConfigError, PortInUse
from kvsync.gateway.app import create_app
from kvsync.publisher import listener_on

log = logging.getLogger(__name__)

BACKLOG = 2048
"""Connections that wait to be accepted, uvicorn's default: a burst is queued, not refused."""

FILES_PER_SOURCE = 12
"""Open files that following one publisher takes: 8, and 4 more for a replay (measured with 50 of them)."""

OTHER_FILES = 256
"""Kept for everything else: two for each running request, and the process itself."""


def event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop: uvloop's, where there is one for the platform."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def serve(config: GatewayConfig, *, exit_with_stdin: bool = False) -> None:
    """Run the gateway until SIGINT, SIGTERM or, if wanted, the end of standard input.

    A second SIGINT ends it at once, whatever still runs. Raises PortInUse or ConfigError when the address
    cannot be bound.
    """
    core.choose(config.core)
    server = Server(config)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.stop)
    loop.add_signal_handler(signal.SIGINT, server.interrupt)
    if exit_with_stdin:
        stdin.on_end(lambda: loop.call_soon_threadsafe(server.stop))
    for warning in config.warnings:
        log.warning(warning)
    room, sources = room_for_sources(), sum(len(pod.sources) for pod in config.pods)
    level = logging.INFO if sources <= room else logging.WARNING
    log.log(level, "the limit of open files leaves room for the events of %d publishers", room)
    log.info("gateway on %s", server.url)
    await server.run()
    log.info("gateway stopped")


class Server:
    """A gateway that listens as soon as it is made and serves while `run` runs."""

    def __init__(self, config: GatewayConfig) -> None:
        self._listener = listen(config.host, config.port)
        self._web = _Web(
            uvicorn.Config(
                create_app(config),
                # httptools ends a request that offers h2c, as Java's clients do, without its body.
                http="h11",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=config.clients.keep_alive_s,
                timeout_graceful_shutdown=config.clients.drain_s,
            )
        )

    @property
    def url(self) -> str:
        """Where it listens; with port 0 in the configuration, the port that was free."""
        host, port = self._listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def run(self) -> None:
        """Serve until `stop` is called; running requests get a moment to end.

        Raises SystemExit when a background task failed, which is a defect: the log shows it.
        """
        await self._web.serve(sockets=[self._listener])
        if self._web.lifespan.error_occurred:
            raise SystemExit(1)

    def stop(self) -> None:
        """Make `run` end when the running requests have, or their time is over."""
        self._web.should_exit = True

    def interrupt(self) -> None:
        """Make `run` end; at once, if it has been asked to before."""
        self._web.force_exit = self._web.should_exit
        self.stop()


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


class _Web(uvicorn.Server):
    """uvicorn's server, but it leaves signals alone and ends when a background task fails."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn would raise the signal again at the end, and so end the process with an error.
        yield

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self.lifespan.error_occurred


def listen(host: str, port: int) -> socket.socket:
    """Listen on a TCP address; port 0 takes a free one. Raises PortInUse, naming who listens, ConfigError."""
    address = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, proto=socket.IPPROTO_TCP)[0]
        with contextlib.ExitStack() as unless_bound:
            # With the protocol left out asyncio does not set TCP_NODELAY: 40 ms more per request (measured).
            listener = unless_bound.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(BACKLOG)
            unless_bound.pop_all()
            return listener
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise PortInUse(address, listener_on(address)) from exc
        raise ConfigError("gateway", [f"cannot listen on {address}: {exc}"]) from exc


def room_for_sources() -> int:
    """Raise this process's limit of open files as far as it may; returns how many sources fit in."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS says that it is unlimited, but it is not.
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        limit = most
    return max(0, limit - OTHER_FILES) // FILES_PER_SOURCE
