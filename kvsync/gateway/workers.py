"""A gateway of several processes: this one listens, and keeps the workers and their indexer running.

They accept from one queue of connections, so none is lost when a worker dies. The indexer ends last, so that
answers that still run are compared with what is known.
"""

import asyncio
import logging
import os
import secrets
import signal

from kvsync import stdin
from kvsync.config import GatewayConfig
from kvsync.gateway.server import listeners_of, url_of
from kvsync.gateway.siblings import Worker
from kvsync.indexer.kept import KeptProcess
from kvsync.indexer.program import written
from kvsync.indexer.supervised import address_of, command, indexer_process

log = logging.getLogger(__name__)

MORE_S = 5.0
"""Beyond `clients.drain_s` a worker has to end."""


async def serve(config: GatewayConfig, *, exit_with_stdin: bool = False) -> None:
    """Run a gateway of `config.workers` processes until SIGINT, SIGTERM or the end of standard input.

    A second SIGINT ends it at once. Raises PortInUse or ConfigError when an address cannot be bound.
    """
    shares = config.sync_enabled and config.indexer.mode != "shared"
    address = address_of(config) if shares else config.indexer.socket
    indexers = [indexer_process(config, address)] if shares and address else []
    listeners = listeners_of(config)
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    family = f"@kvsync-worker-{os.getpid()}-{secrets.token_hex(4)}"
    files = tuple(each.fileno() for each in listeners)
    workers = [
        _worker(
            _of_worker(config, address), Worker(number=number, of=config.workers, family=family, files=files)
        )
        for number in range(1, config.workers + 1)
    ]

    def interrupt() -> None:
        if stopped.is_set():
            for worker in workers:
                worker.signal(signal.SIGINT)
        stopped.set()

    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    if exit_with_stdin:
        stdin.on_end(lambda: loop.call_soon_threadsafe(stopped.set))
    for warning in config.warnings:
        log.warning(warning)
    log.info("gateway of %d workers on %s", config.workers, url_of(config, listeners[0]))
    async with asyncio.TaskGroup() as tasks:
        indexer = [tasks.create_task(each.run()) for each in indexers]
        await _run(workers, stopped)
        for listener in listeners:
            listener.close()
        for task in indexer:
            task.cancel()
    log.info("gateway stopped")


async def _run(workers: list[KeptProcess], stopped: asyncio.Event) -> None:
    """Keep the workers running until it is over, and wait for their last answers."""
    async with asyncio.TaskGroup() as tasks:
        kept = [tasks.create_task(worker.run()) for worker in workers]
        await stopped.wait()
        for task in kept:
            task.cancel()


def _of_worker(config: GatewayConfig, address: str | None) -> GatewayConfig:
    """Return the settings of each worker: it has no workers, and asks the indexer of all."""
    update: dict[str, object] = {"workers": 1}
    if config.sync_enabled:
        update["indexer"] = config.indexer.model_copy(update={"mode": "shared", "socket": address})
    return config.model_copy(update=update)


def _worker(config: GatewayConfig, worker: Worker) -> KeptProcess:
    return KeptProcess(
        f"worker {worker.number}",
        command("gateway", "--config", "-", "--worker"),
        written(config) + worker.written(),
        end_s=config.clients.drain_s + MORE_S,
        files=worker.files,
    )
