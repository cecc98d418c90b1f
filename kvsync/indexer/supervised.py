"""An indexer whose process the gateway keeps running."""

import asyncio
import logging
import os
import secrets
import sys

from kvsync.config import GatewayConfig
from kvsync.discovery import Discovery
from kvsync.errors import ConfigError
from kvsync.indexer.address import check
from kvsync.indexer.kept import KeptProcess
from kvsync.indexer.program import written
from kvsync.indexer.remote import RemoteIndexer

log = logging.getLogger(__name__)

END_S = 10.0
"""What an indexer has to write what it knows; then it is killed."""


def address_of(config: GatewayConfig) -> str:
    """Return where an indexer of this process answers. Raises ConfigError where no name can be made up."""
    if config.indexer.socket:
        return config.indexer.socket
    if sys.platform != "linux":
        raise ConfigError("gateway", ["indexer.mode 'process' needs indexer.socket, a path, but on Linux"])
    return f"@kvsync-indexer-{os.getpid()}-{secrets.token_hex(4)}"


def command(*arguments: str) -> tuple[str, ...]:
    """Return the command line of one of our programs that lives no longer than this process, and logs as it
    does."""
    level = logging.getLevelName(log.getEffectiveLevel()).lower()
    return (sys.executable, "-m", "kvsync", *arguments, "--exit-with-stdin", "--log-level", level)


def indexer_process(config: GatewayConfig, address: str) -> KeptProcess:
    """Return what keeps an indexer running at an address. Raises ConfigError if it could not listen there."""
    check(address)  # what it refuses by itself, when the gateway serves, ends that with a traceback
    argv = command("indexer", "--config", "-", "--socket", address)
    return KeptProcess("indexer", argv, written(config), end_s=END_S)


class SupervisedIndexer(RemoteIndexer):
    """One whose process is run as well. Raises ConfigError as `indexer_process`."""

    def __init__(self, config: GatewayConfig, discovery: Discovery | None = None) -> None:
        address = address_of(config)
        super().__init__(config, address, discovery)
        self._process = indexer_process(config, address)

    async def run(self) -> None:
        """Run it and keep the connection until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._process.run())
            tasks.create_task(super().run())
