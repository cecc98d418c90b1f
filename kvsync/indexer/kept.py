"""A process that this one starts, starts again when it dies, and ends."""

import asyncio
import logging
import signal
from collections.abc import Sequence
from contextlib import suppress

from kvsync.errors import ConfigError

log = logging.getLogger(__name__)

RETRY_S, RETRY_MAX_S = 0.1, 2.0
"""Before one that died is started again, and twice as long each time it dies within `LIVED_S`."""

LIVED_S = 10.0

REFUSED = 2
"""The exit code by which a program says that its configuration is wrong."""


class KeptProcess:
    """Keeps a program running while `run` runs; it ends with this process, however that ends.

    The program reads `first`, its configuration, from its standard input, and ends when that does; it has
    `end_s` for it. It inherits `files`.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        first: bytes,
        *,
        end_s: float,
        files: Sequence[int] = (),
    ) -> None:
        self._name = name
        self._argv = argv
        self._first = first
        self._end_s = end_s
        self._files = files
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Start it, again and again, until cancelled. Raises ConfigError when it refuses its first start."""
        loop, wait_s, is_first = asyncio.get_running_loop(), RETRY_S, True
        while True:
            began = loop.time()
            code = await self._once()
            if code == REFUSED and is_first:
                raise ConfigError(self._name, ["it refused to start: the log says why"])
            is_first = False
            wait_s = RETRY_S if loop.time() - began > LIVED_S else wait_s
            text = "the %s ended by itself (exit code %d), it is started again in %g s"
            log.error(text, self._name, code, wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(RETRY_MAX_S, 2 * wait_s)

    def signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self._process:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _once(self) -> int:
        # A session of its own: Ctrl-C is for this process, which ends the other in time.
        self._process = process = await asyncio.create_subprocess_exec(
            *self._argv, stdin=asyncio.subprocess.PIPE, start_new_session=True, pass_fds=self._files
        )
        try:
            assert process.stdin
            process.stdin.write(self._first)
            return await process.wait()
        finally:
            await asyncio.shield(self._ended(process))
            self._process = None

    async def _ended(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            assert process.stdin
            process.stdin.close()
            process.send_signal(signal.SIGCONT)  # one that is stopped could not end
            with suppress(TimeoutError):
                async with asyncio.timeout(self._end_s):
                    await process.wait()
        if process.returncode is None:
            log.error("the %s is killed: it did not end within %g s", self._name, self._end_s)
            process.kill()
            await process.wait()
