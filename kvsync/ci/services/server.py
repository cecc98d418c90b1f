"""A server process that runs until it is no longer needed: awaited, watched, and ended with all it started.

It is in the ledger, in a session of its own, and marked with the run, as every command of a run is.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from kvsync.ci.services.process_tree import Control, ProcessTree
from kvsync.ci.services.service import NotReady, Surroundings
from kvsync.testing.errors import WaitTimeout
from kvsync.testing.processes.runner import CommandResult, run
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.texts import LINE, shortened

FOREVER_S = 7 * 24 * 3600.0
"""Longer than any stage may take, with which a service ends."""

GRACE_S = 10.0
"""For a server of the repository: it may write down what tests covered of it."""

TAIL_BYTES = 4096
"""The end of a log that goes into a report."""

MISSING, FORBIDDEN = 127, 126
"""How `env` says that a program is not there, and that it is none."""


NOT_STARTED = 125
"""How `docker run`, and what runs a pod likewise, says that there never was a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCommand:
    """The command of a server. `answer` says why it is not ready yet, and "" when it is.

    `grace_s` is how long it may take to end by itself after each signal, before it is killed. `again` starts
    it with what it had, where that is another command. `control` reaches its processes, where they are others
    than those that `argv` starts.
    """

    argv: Sequence[str]
    answer: Callable[[], str]
    cwd: Path | None = None
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    grace_s: float = GRACE_S
    again: Sequence[str] = ()
    control: Control | None = None


class ServerProcess:
    """The process of a server, which may be ended and started again; only one of them runs at a time."""

    def __init__(self, command: ServerCommand, name: str, around: Surroundings) -> None:
        self.name, self._command, self._around = name, command, around
        self._control = command.control or ProcessTree(around.ledger, f"service {name}")
        self._log = around.logs / f"{name}.log"
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=name)
        self.pid, self.starts, self._is_asked = 0, 0, False
        self._over, self._running = threading.Event(), Future[CommandResult]()

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        command, began = self._command, SimpleQueue[int]()
        self._over, self._is_asked = threading.Event(), False
        self._running = self._threads.submit(
            run,
            command.again if self.starts and command.again else command.argv,
            log=self._log,
            timeout_s=FOREVER_S,
            cwd=command.cwd,
            env=command.env,
            environ=command.environ,
            stop=self._over,
            ledger=self._around.ledger,
            grace_s=command.grace_s,
            on_start=began.put,
            name=f"service {self.name}",
        )
        self._running.add_done_callback(lambda _: began.put(0))  # it may not begin
        self.pid, self.starts = began.get(), self.starts + 1

    def await_ready(self, timeout_s: float) -> None:
        """Wait until it answers. Raises NotReady when it ends before, or takes longer."""
        _await(self._command, self.name, self._log, self._around, self._running, timeout_s)

    def end(self) -> None:
        """Let it end by itself, or kill it when that takes too long."""
        if self.is_running:
            self._is_asked = True
            self.resume()
            self._control.ask_to_end(self.pid, self._command.grace_s)
        self._over.set()
        wait([self._running])
        self._control.clear()

    def kill(self) -> None:
        """End it at once, without its cooperation."""
        if self.is_running:
            self._is_asked = True
            self._control.kill(self.pid)
        wait([self._running], GRACE_S)
        self._over.set()
        wait([self._running])
        self._control.clear()

    @property
    def cannot_pause(self) -> str:
        """Why its processes cannot be stopped; "" where they can."""
        return self._control.cannot_pause

    def pause(self) -> None:
        """Stop its processes where they are."""
        self._control.pause(self.pid)

    def resume(self) -> None:
        """Let them go on."""
        self._control.resume(self.pid)

    def close(self) -> None:
        """End it for good."""
        self.end()
        self._threads.shutdown()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended; one that is paused runs in this sense."""
        return not self._running.done()

    @property
    def is_paused(self) -> bool:
        """Whether all of its processes are stopped."""
        return self.is_running and self._control.is_paused(self.pid)

    def why_ended(self) -> str:
        """Say why it ended, "" if it runs, or ended because it was to."""
        return "" if self._is_asked else _ending(self._running, self.name)


@contextmanager
def serving(
    server: ServerCommand, name: str, around: Surroundings, timeout_s: float
) -> Iterator[ServerProcess]:
    """Run a server until left.

    Raises NotReady when it ends before it answers, or does not answer within `timeout_s`.
    """
    running = ServerProcess(server, name, around)
    try:
        running.start()
        running.await_ready(timeout_s)
        yield running
    finally:
        running.close()


def _await(
    server: ServerCommand,
    name: str,
    log: Path,
    around: Surroundings,
    running: Future[CommandResult],
    timeout_s: float,
) -> None:
    began, said = time.monotonic(), ["it was not asked yet"]

    def is_settled() -> bool:
        said[0] = server.answer()
        return not said[0] or running.done() or around.stop.is_set()

    try:
        wait_for(is_settled, what=name, timeout_s=timeout_s, interval_s=0.1)
    except WaitTimeout as exc:
        reason = f"service {name!r} was not ready within {timeout_s:g} s: {said[0]}"
        raise NotReady(f"{reason}{_last_line(log)}", _tail(log)) from exc
    if running.done():
        # Also if something answered: it was not this one.
        raise NotReady(
            _ending(running, name, f" after {time.monotonic() - began:.1f} s, before it was ready, ")
            or "the run was interrupted",
            _tail(log),
        )
    if said[0]:
        raise NotReady("the run was interrupted")


def _ending(running: Future[CommandResult], name: str, when: str = " ") -> str:
    if not running.done():
        return ""
    result = running.result()
    if result.stopped:
        return ""
    lines = [line.strip() for line in result.tail.splitlines() if line.strip()]
    if result.exit_code == NOT_STARTED and lines:
        return f"service {name!r} cannot be started: {shortened(lines[-1], 2 * LINE)}"
    said = f": {shortened(lines[-1])}" if lines else ""
    mend = ""
    if result.exit_code in (MISSING, FORBIDDEN):
        mend = "; install the program where the pipeline runs, or with `prepare` in stages.toml"
    return f"service {name!r} ended by itself{when}with {result.ending}{said}{mend}"


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in _tail(log).splitlines() if line.strip()]
    return f"; its log ends with: {shortened(lines[-1])}" if lines else "; its log is empty"


def _tail(log: Path) -> str:
    return log.read_bytes()[-TAIL_BYTES:].decode(errors="replace") if log.exists() else ""
