"""Looks at an endpoint in the background, while sockets go on trying to connect to it."""

import asyncio
from collections.abc import Callable

from kvsync.sources.peer import PATIENCE_S, Peer, Speaks, look, problem


class Inspection:
    """One endpoint. `problem` says what the latest look found wrong, and what to do; empty: nothing.

    `notify` is called after each look. The peer `is_wrong` when something else than what is wanted listens
    there: waiting does not help.
    """

    def __init__(
        self, endpoint: str, notify: Callable[[], None], *, replays: bool, patience_s: float = PATIENCE_S
    ) -> None:
        self.problem = ""
        self.is_wrong = False
        self._endpoint = endpoint
        self._notify = notify
        self._replays = replays
        self._patience_s = min(patience_s, PATIENCE_S)
        self._task: asyncio.Task[Peer | None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether a look has not ended yet."""
        return self._task is not None

    def start(self) -> None:
        """Look, unless a look is running already."""
        if self._task is None:
            self._task = asyncio.create_task(look(self._endpoint, self._patience_s))
            self._task.add_done_callback(self._ended)

    def stop(self) -> None:
        """Give up a look that runs, and forget what was found."""
        if self._task:
            self._task.cancel()
        self.problem, self.is_wrong, self._task = "", False, None

    def _ended(self, task: asyncio.Task[Peer | None]) -> None:
        if task is not self._task:
            return  # It was given up.
        self._task = None
        peer = task.result()
        self.problem = problem(self._endpoint, peer, replays=self._replays)
        self.is_wrong = bool(self.problem) and peer is not None and peer.speaks is not Speaks.NOTHING
        self._notify()
