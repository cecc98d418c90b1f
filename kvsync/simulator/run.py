"""Runs a simulated pod: its API, its admin interface, its publisher and its engine in one event loop."""

import asyncio
import errno
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import uvicorn
from starlette.types import ASGIApp

from kvsync import stdin
from kvsync.errors import ConfigError, PortInUse
from kvsync.publisher import listener_on
from kvsync.simulator import admin, server
from kvsync.simulator.options import SimulatorOptions
from kvsync.simulator.pod import SimulatedPod

__all__ = ["SimulatorOptions", "main", "running", "serve"]

_KEEP_ALIVE_S = 60
"""Longer than any client keeps an idle connection: the simulator is never the first to close it."""
_GRACE_S = 1
"""How long requests that are still running at the end may take."""


@asynccontextmanager
async def running(options: SimulatorOptions) -> AsyncIterator[SimulatedPod]:
    """A pod that serves within the block. Raises PortInUse, ConfigError."""
    async with AsyncExitStack() as stack:
        api = stack.enter_context(_bind(options.host, options.port))
        admin_socket = stack.enter_context(_bind(options.host, options.admin_port))
        history = stack.enter_context(_open(options.history)) if options.history else None
        loop = asyncio.get_running_loop()
        pod = SimulatedPod(options, later=loop.call_later, sleep=asyncio.sleep, history=history)
        await stack.enter_async_context(pod.publisher)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        tasks = [group.create_task(pod.engine.run()), group.create_task(pod.publisher.serve())]
        for task in tasks:
            stack.callback(task.cancel)
        front = server.create_app(
            pod.engine,
            options.card,
            details=options.details,
            rendering=options.rendering,
            api_key=options.api_key,
        )
        apps = {api: front, admin_socket: admin.create_app(pod)}
        await stack.enter_async_context(_listening(apps))
        yield pod


async def serve(options: SimulatorOptions) -> None:
    """Serve until cancelled. Raises PortInUse, ConfigError."""
    async with running(options):
        print(f"simulator {options.name} serves {options.model} on {options.host}:{options.port}", flush=True)
        await asyncio.Event().wait()


def main(options: SimulatorOptions) -> None:
    """Serve until SIGINT or SIGTERM, or until standard input closes when the options say so.

    Raises PortInUse, ConfigError.
    """
    asyncio.run(_serve_until_stopped(options))


async def _serve_until_stopped(options: SimulatorOptions) -> None:
    loop = asyncio.get_running_loop()
    serving = loop.create_task(serve(options))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, serving.cancel)
    if options.exit_with_stdin:
        stdin.on_end(lambda: loop.call_soon_threadsafe(serving.cancel))
    await asyncio.wait([serving])
    if not serving.cancelled():
        serving.result()


def _open(history: Path) -> BinaryIO:
    """The history for appending; unbuffered, so that every line outlives a kill."""
    try:
        return history.open("ab", buffering=0)
    except OSError as exc:
        raise ConfigError("simulator", [f"history: cannot write {history}: {exc}"]) from exc


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket's address, taken at once so that two simulators cannot both believe to own it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol left out asyncio does not set TCP_NODELAY, which costs 40 ms a request (measured).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # SO_REUSEADDR lets two sockets bind one address as long as neither listens.
        listener.listen()
    except OSError as exc:
        listener.close()
        address = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
        if exc.errno == errno.EADDRINUSE:
            raise PortInUse(address, listener_on(address)) from exc
        raise ConfigError("simulator", [f"cannot listen on {address}: {exc}"]) from exc
    return listener


@asynccontextmanager
async def _listening(apps: Mapping[socket.socket, ASGIApp]) -> AsyncIterator[None]:
    """Serve each app within the block; without uvicorn's main loop, which wakes up ten times a second."""
    webs = {listener: _web(app) for listener, app in apps.items()}
    for listener, web in webs.items():
        await web.startup(sockets=[listener])
    try:
        yield
    finally:
        await asyncio.gather(*(web.shutdown(sockets=[listener]) for listener, web in webs.items()))


def _web(app: ASGIApp) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )
    config.load()
    web = uvicorn.Server(config)
    web.lifespan = config.lifespan_class(config)
    return web
