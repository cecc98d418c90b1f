"""Which pods there are, as they come and go."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Protocol

from kvsync.errors import ConfigError
from kvsync.pods import Pod, parse_pods
from kvsync.ratelimit import RateLimit

log = logging.getLogger(__name__)

_LOG_INTERVAL_S = 60.0
"""A list that stays broken is mentioned again after a minute; `problem` shows it all the time."""


class Discovery(Protocol):
    """A source of pods."""

    @property
    def problem(self) -> str:
        """Why the latest list may be out of date; empty: it is not."""

    def watch(self) -> AsyncIterator[tuple[Pod, ...]]:
        """All pods there are: once at the beginning, then after each change."""


class StaticDiscovery:
    """Pods that never change."""

    problem = ""

    def __init__(self, pods: Sequence[Pod]) -> None:
        self._pods = tuple(pods)

    async def watch(self) -> AsyncIterator[tuple[Pod, ...]]:
        """The pods, once."""
        yield self._pods


class FileDiscovery:
    """The pods of a file `{"pods": [...]}`, looked at every `interval_s`.

    It is read anew each time, since a time stamp is too coarse to show two changes in quick succession. While
    it cannot be read, the last good list stays; a writer that replaces the file by renaming avoids even that.
    """

    def __init__(
        self, path: Path, interval_s: float = 0.2, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.problem = ""
        self._path = path
        self._interval_s = interval_s
        self._text: str | None = None
        self._pods: tuple[Pod, ...] = ()
        self._limit = RateLimit(_LOG_INTERVAL_S, clock)

    async def watch(self) -> AsyncIterator[tuple[Pod, ...]]:
        """The pods, at the beginning (none when the file is not good) and after each change."""
        self._look()
        while True:
            yield (shown := self._pods)
            while self._pods == shown:
                await asyncio.sleep(self._interval_s)
                self._look()

    def _look(self) -> None:
        try:
            text = self._path.read_text(encoding="utf-8")
            if text != self._text:
                self._text = text
                self._pods, self.problem = parse_pods(text, str(self._path)), ""
        except (OSError, UnicodeDecodeError) as error:
            self._text = None
            self._complain(f"cannot read {self._path}: {error}")
        except ConfigError as error:
            self._complain(str(error))

    def _complain(self, problem: str) -> None:
        self.problem = problem
        if self._limit.admit() is not None:
            log.warning("the list of pods stays as it was: %s", problem)
