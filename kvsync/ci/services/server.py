"""A server process that runs until it is no longer needed: awaited, watched, and ended with all it started.

It is in the ledger, in a session of its own, and marked with the run, as every command of a run is.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kvsync.ci.services.service import HOST, NotReady, Surroundings
from kvsync.testing.errors import WaitTimeout
from kvsync.testing.processes.runner import CommandResult, run
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.texts import shortened

FOREVER_S = 7 * 24 * 3600.0
"""Longer than any stage may take, with which a service ends."""

GRACE_S = 10.0
"""For a server of the repository: it may write down what tests covered of it."""

TAIL_BYTES = 4096
"""The end of a log that goes into a report."""

MISSING, FORBIDDEN = 127, 126
"""How `env` says that a program is not there, and that it is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCommand:
    """The command of a server. `answer` says why it is not ready yet, and "" when it is.

    `grace_s` is how long it may take to end by itself after each signal, before it is killed.
    """

    argv: Sequence[str]
    answer: Callable[[], str]
    cwd: Path | None = None
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    grace_s: float = GRACE_S


@contextmanager
def serving(
    server: ServerCommand, name: str, around: Surroundings, timeout_s: float
) -> Iterator[Callable[[], str]]:
    """Run a server until left; gives what says, once it was left, why it had ended before, "" if it had not.

    Raises NotReady when it ends before it answers, or does not answer within `timeout_s`.
    """
    log, over = around.logs / f"{name}.log", threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix=name) as threads:
        running = threads.submit(
            run,
            server.argv,
            log=log,
            timeout_s=FOREVER_S,
            cwd=server.cwd,
            env=server.env,
            environ=server.environ,
            stop=over,
            ledger=around.ledger,
            grace_s=server.grace_s,
            name=f"service {name}",
        )
        try:
            _await(server, name, log, around, running, timeout_s)
            yield lambda: _ending(running, name)
        finally:
            over.set()


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on; another program may take one before it is used."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in held]


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
            f"{_ending(running, name)} after {time.monotonic() - began:.1f} s, before it was ready",
            _tail(log),
        )
    if said[0]:
        raise NotReady("the run was interrupted")


def _ending(running: Future[CommandResult], name: str) -> str:
    if not running.done():
        return ""
    result = running.result()
    if result.stopped:
        return ""
    lines = [line.strip() for line in result.tail.splitlines() if line.strip()]
    said = f": {shortened(lines[-1])}" if lines else ""
    mend = ""
    if result.exit_code in (MISSING, FORBIDDEN):
        mend = "; install the program where the pipeline runs, or with `prepare` in stages.toml"
    return f"service {name!r} ended by itself with {result.ending}{said}{mend}"


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in _tail(log).splitlines() if line.strip()]
    return f"; its log ends with: {shortened(lines[-1])}" if lines else "; its log is empty"


def _tail(log: Path) -> str:
    return log.read_bytes()[-TAIL_BYTES:].decode(errors="replace") if log.exists() else ""
