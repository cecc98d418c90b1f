"""`kvsync indexer` as a process: its socket, its signals and its end."""

import asyncio
import json
import logging
import resource
import signal
from contextlib import suppress

import uvicorn
from pydantic import SecretStr

from kvsync import core, stdin
from kvsync.config import GatewayConfig
from kvsync.errors import ConfigError
from kvsync.indexer import listening
from kvsync.indexer.address import listen
from kvsync.indexer.local import FollowingIndexer, discovery_of
from kvsync.indexer.registry import Registry
from kvsync.indexer.server import SocketServer
from kvsync.indexer.web import IndexerApi
from kvsync.settings.operation import IndexerConfig

log = logging.getLogger(__name__)

FILES_PER_SOURCE = 12
"""Open files that following one publisher takes: 8, and 4 more for a replay (measured with 50 of them)."""

OTHER_FILES = 256
"""Kept for everything else: two for each running request of a gateway, and the process itself."""


def written(config: GatewayConfig) -> bytes:
    """Write a configuration as a line, secrets included, for the standard input of an indexer."""
    return json.dumps(config.model_dump(), default=_plain).encode() + b"\n"


def _plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def read_config(line: bytes) -> GatewayConfig:
    """Read what `written` wrote. Raises ConfigError."""
    try:
        return GatewayConfig.model_validate(json.loads(line), context=set())
    except ValueError as error:
        raise ConfigError(
            "standard input", [f"it is no configuration in one line of JSON: {error}"]
        ) from error


def event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop: uvloop's, where there is one for the platform."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def room_for_sources() -> int:
    """Raise this process's limit of open files as far as it may; returns how many sources fit in."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS says that it is unlimited, but it is not.
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        limit = most
    return max(0, limit - OTHER_FILES) // FILES_PER_SOURCE


def note_room(config: GatewayConfig) -> None:
    """Write down how many publishers this process can follow; as a warning if the pods have more."""
    room, sources = room_for_sources(), sum(len(pod.sources) for pod in config.pods)
    level = logging.INFO if sources <= room else logging.WARNING
    log.log(level, "the limit of open files leaves room for the events of %d publishers", room)


async def serve(config: GatewayConfig, *, exit_with_stdin: bool = False) -> None:
    """Run an indexer until SIGINT, SIGTERM or, if wanted, the end of standard input.

    What it knows is then written, if it is configured so. Raises ConfigError when there is no socket to
    listen at, or it cannot be used.
    """
    if not (address := config.indexer.socket):
        raise ConfigError("indexer", ["indexer.socket is not set: where gateways ask, e.g. @kvsync-indexer"])
    core.choose(config.core)
    registry = Registry(discovery_of(config))
    indexer, listener = FollowingIndexer(config, registry), listen(address)
    parts = [indexer.run(), SocketServer(indexer, listener, address).run()]
    if config.indexer.port is not None:
        parts.append(_serve_http(config.indexer, IndexerApi(indexer, registry)))
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if exit_with_stdin:
        stdin.on_end(lambda: loop.call_soon_threadsafe(stopped.set))
    note_room(config)
    async with asyncio.TaskGroup() as tasks:
        work = [tasks.create_task(part) for part in parts]
        log.info("indexer at %s", address)
        await stopped.wait()
        await indexer.save()
        for task in work:
            task.cancel()
    log.info("indexer stopped")


async def _serve_http(config: IndexerConfig, api: IndexerApi) -> None:
    """Serve the API until cancelled. Raises PortInUse, ConfigError."""
    port = listening.listen(config.host, config.port or 0)
    host, number = port.getsockname()[:2]
    log.info("indexer on http://%s:%d, where no key is needed", host, number)
    await listening.SignallessServer(
        uvicorn.Config(api.app(), ws="none", lifespan="off", log_config=None, access_log=False)
    ).serve(sockets=[port])
