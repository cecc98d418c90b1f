"""Run a command, whatever it does: bounded in time and memory, and gone afterwards with all it started.

- The command writes straight into its log file; lines for the callback are read back from there. No pipe
  can block, no thread can leak, and the log goes on even when this process is killed.
- It leads a process group of its own. Whatever ends the run (exit, time limit, stop, an error here), the
  group is killed, so grandchildren go too; with a command that has to be killed, also those that left it.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import psutil

from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.living import descendants

TAIL_BYTES = 64 * 1024
"""The end of the output that a result carries; the log has all of it."""

LINE_BYTES = 64 * 1024
"""A longer line reaches the callback in pieces."""

TURN_BYTES = 4 * 1024 * 1024
"""The most that is read back in one turn, so that a chatty command cannot keep us from the clock."""

NAME_CHARACTERS = 120
"""Of a command in the ledger, where people read what was left."""

TICK_S = 0.1
"""How often lines, time limit and stop are checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """How a command ended: `exit_code` is minus the number of the signal that killed it.

    `doubt` says why its results are not to be believed, whatever it exited with; empty for most commands.
    """

    exit_code: int
    duration_s: float
    tail: str
    timed_out: bool = False
    stopped: bool = False
    doubt: str = ""

    @property
    def ending(self) -> str:
        """How it ended, such as `exit status 3`, or `SIGKILL (exit status -9)` where a signal ended it."""
        status = f"exit status {self.exit_code}"
        known = {-number: number.name for number in signal.Signals}
        return f"{known[self.exit_code]} ({status})" if self.exit_code in known else status


def run(
    argv: Sequence[str],
    *,
    log: Path,
    timeout_s: float,
    ledger: Ledger,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
    stop: Event | None = None,
    grace_s: float = 5.0,
    on_line: Callable[[str], None] | None = None,
    on_start: Callable[[int], None] = lambda pid: None,
    clock: Callable[[], float] = time.monotonic,
    name: str = "",
) -> CommandResult:
    """Run `argv` to its end, its output appended to `log`, and call `on_line` with each line.

    `on_start` is called with the id of its process, once that is in the ledger.

    `env` is added to `environ`, or to the inherited environment if that is None; `descriptors` stay open. At
    the time limit or on `stop` the group gets SIGINT, SIGTERM and SIGKILL, `grace_s` apart. A program that
    does not exist exits with 127, as in a shell. `name` is what the ledger calls it: the command itself, if
    there is none.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    shown = textwrap.shorten(name or " ".join(argv), NAME_CHARACTERS, placeholder=" ...")
    entry = ledger.intend("process", shown, log=str(log))
    started = clock()
    process, begin = _start(argv, log, cwd, environ, {**(env or {}), **ledger.environment}, descriptors)
    lines = _Lines(log, begin, on_line)
    timed_out = stopped = False
    try:
        ledger.created(entry, pid=process.pid, create_time=psutil.Process(process.pid).create_time())
        on_start(process.pid)
        while not _ended(process, TICK_S) and not (timed_out or stopped):
            lines.follow()
            timed_out = clock() - started >= timeout_s
            stopped = stop is not None and stop.is_set()
    finally:
        _end(process, grace_s)
        ledger.released(entry)
    lines.finish()
    return CommandResult(
        exit_code=process.returncode,
        duration_s=clock() - started,
        tail=_tail(log, begin),
        timed_out=timed_out,
        stopped=stopped,
    )


def with_environment(argv: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """Return a command that runs `argv` with `variables` added to the inherited environment."""
    return ["env", *(f"{name}={value}" for name, value in variables.items()), *argv]


def _start(
    argv: Sequence[str],
    log: Path,
    cwd: Path | None,
    environ: Mapping[str, str] | None,
    variables: Mapping[str, str],
    descriptors: Sequence[int],
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the command; also return where in the log its output begins."""
    with log.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            with_environment(argv, {}),  # `env` says in its exit status that there is no such program
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            # Not by `env NAME=VALUE`: every user of the machine can read command lines.
            env={**(os.environ if environ is None else environ), **variables},
            start_new_session=True,
            pass_fds=descriptors,
        )
    return process, begin


def _ended(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Say whether it has ended within this time; with Linux's help, for `wait` looks 80 times a second."""
    if sys.platform == "linux" and process.poll() is None:
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(process.pid)
            try:
                ending = select.poll()
                ending.register(descriptor, select.POLLIN)
                ending.poll(timeout_s * 1000)
            finally:
                os.close(descriptor)
            timeout_s = 0
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """End the command and its group: politely while it runs, for certain in any case."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if process.poll() is None:
            _signal_group(process, number)
            _ended(process, grace_s)
    # Those in sessions of their own would notice its end, unless they are stopped.
    left = descendants(psutil.Process(process.pid)) if process.poll() is None else []
    _signal_group(process, signal.SIGKILL)
    for each in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()
    psutil.wait_procs(left, timeout=grace_s)  # they may be writing into what is removed next


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # macOS refuses to signal a group that has only zombies left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


class _Lines:
    """Hands over the lines that appear in a log."""

    def __init__(self, log: Path, begin: int, on_line: Callable[[str], None] | None) -> None:
        self._log, self._position, self._on_line = log, begin, on_line
        self._rest = b""

    def follow(self) -> bool:
        """Hand over what is new, at most one turn of it; True when there was something."""
        if self._on_line is None:
            return False
        with self._log.open("rb") as file:
            file.seek(self._position)
            new = file.read(TURN_BYTES)
        self._position += len(new)
        *whole, self._rest = (self._rest + new).split(b"\n")
        for line in whole:
            self._hand_over(line)
        if len(self._rest) > LINE_BYTES:
            self._hand_over(self._rest)
            self._rest = b""
        return bool(new)

    def finish(self) -> None:
        """Hand over everything there is, including an unfinished last line."""
        while self.follow():
            pass
        if self._rest:
            self._hand_over(self._rest)

    def _hand_over(self, line: bytes) -> None:
        assert self._on_line is not None
        for begin in range(0, len(line) or 1, LINE_BYTES):
            self._on_line(line[begin : begin + LINE_BYTES].decode(errors="replace").rstrip("\r"))


def _tail(log: Path, begin: int) -> str:
    with log.open("rb") as file:
        file.seek(max(begin, log.stat().st_size - TAIL_BYTES))
        return file.read(TAIL_BYTES).decode(errors="replace")
