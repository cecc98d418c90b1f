"""An indexer in a process that this one starts, starts again when it dies, and ends."""

import asyncio
import logging
import os
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress

from kvsync.config import GatewayConfig
from kvsync.discovery import Discovery
from kvsync.errors import ConfigError
from kvsync.indexer.program import written
from kvsync.indexer.remote import RemoteIndexer

log = logging.getLogger(__name__)

RETRY_S, RETRY_MAX_S = 0.1, 2.0
"""Before one that died is started again, and twice as long each time it dies within `LIVED_S`."""

LIVED_S = 10.0

END_S = 10.0
"""What it has to write what it knows; then it is killed."""


def address_of(config: GatewayConfig) -> str:
    """Return where an indexer of this process answers. Raises ConfigError where no name can be made up."""
    if config.indexer.socket:
        return config.indexer.socket
    if sys.platform != "linux":
        raise ConfigError("gateway", ["indexer.mode 'process' needs indexer.socket, a path, but on Linux"])
    return f"@kvsync-indexer-{os.getpid()}-{secrets.token_hex(4)}"


class IndexerProcess:
    """Keeps an indexer running at `address` while `run` runs; it ends with this process, however that ends.

    `died` is called each time that it has.
    """

    def __init__(self, config: GatewayConfig, address: str, died: Callable[[], None]) -> None:
        self.pid: int | None = None
        self._config = config
        self._died = died
        self._argv = (
            *(sys.executable, "-m", "kvsync", "indexer", "--config", "-", "--socket", address),
            *("--exit-with-stdin", "--log-level", logging.getLevelName(log.getEffectiveLevel()).lower()),
        )

    async def run(self) -> None:
        """Start it, again and again, until cancelled."""
        loop, wait_s = asyncio.get_running_loop(), RETRY_S
        while True:
            began = loop.time()
            code = await self._once()
            self._died()
            wait_s = RETRY_S if loop.time() - began > LIVED_S else wait_s
            log.error("the indexer ended by itself (exit code %d), it is started again in %g s", code, wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(RETRY_MAX_S, 2 * wait_s)

    async def _once(self) -> int:
        # A session of its own: Ctrl-C is for the gateway, which ends it after the last answer.
        process = await asyncio.create_subprocess_exec(
            *self._argv, stdin=asyncio.subprocess.PIPE, start_new_session=True
        )
        self.pid = process.pid
        try:
            assert process.stdin
            process.stdin.write(written(self._config))
            return await process.wait()
        finally:
            self.pid = None
            await asyncio.shield(_ended(process))


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Let a process end, which it does when its standard input is closed."""
    if process.returncode is None:
        assert process.stdin
        process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()


class SupervisedIndexer(RemoteIndexer):
    """One whose process is run as well."""

    def __init__(self, config: GatewayConfig, discovery: Discovery | None = None) -> None:
        address = address_of(config)
        super().__init__(config, address, discovery)
        self._process = IndexerProcess(config, address, self._note_death)

    async def run(self) -> None:
        """Run it and keep the connection until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._process.run())
            tasks.create_task(super().run())

    def _note_death(self) -> None:
        self.restarts += 1
