"""A program that runs alongside the tests until it is stopped, and never outlives them.

- It is in the ledger before it exists, and its log has everything it wrote.
- Its standard input is a pipe that we hold: programs started with `--exit-with-stdin` end when this process
  does, however it ends.
- An end that was not asked for is noticed by the time the program is stopped or killed; so is an exit code
  that stopping it does not explain.
- It leads a process group within our session. When we die, the kernel sends SIGHUP and SIGCONT to such a
  group if it is stopped, which ends a paused program that could not notice the end of its input.
"""

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from kvsync.testing.errors import ClusterError, WaitTimeout
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.runner import with_environment
from kvsync.testing.processes.wait import wait_for

GRACE_S = 5.0
"""How long a program may take to end by itself before it is killed."""
TAIL_BYTES = 4096
"""The end of a log that goes into an error message."""
WHEN_ASKED = (0, -signal.SIGTERM, 128 + signal.SIGTERM)
"""Exit codes of a program that was asked to end; the last one is what a process in between says of it."""


class ProgramEnded(ClusterError):
    """A program that ended without being asked to, or failed when it was; carries the end of its log."""

    def __init__(self, program: "Program", how: str) -> None:
        super().__init__(f"{program.name} {how}; its log ends with:\n{program.tail()}")


class Program:
    """A running program; with `may_end` it is one that ends by itself, with exit code 0, when it is done.

    Raises OSError when it cannot be started.
    """

    def __init__(
        self, name: str, argv: Sequence[str], *, log: Path, ledger: Ledger, may_end: bool = False
    ) -> None:
        self.name, self.log = name, log
        self._ledger, self._may_end = ledger, may_end
        self._asked = self._killed = self._told = self._over = False
        self._entry = ledger.intend("process", name, log=str(log))
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._begin = output.tell()
            self._process = subprocess.Popen(
                with_environment(argv, ledger.environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self._handle = psutil.Process(self._process.pid)
        self._entry = ledger.created(
            self._entry, pid=self._process.pid, create_time=self._handle.create_time()
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended; a paused program runs in this sense."""
        return self._process.poll() is None

    @property
    def is_paused(self) -> bool:
        """Whether the kernel keeps it stopped."""
        return self.is_running and self._handle.status() == psutil.STATUS_STOPPED

    def tail(self) -> str:
        """Return the end of what it wrote; a program of the same name before it may have left more."""
        return self.log.read_bytes()[self._begin :][-TAIL_BYTES:].decode(errors="replace")

    def pause(self) -> None:
        """Stop it where it is, as SIGSTOP does, and wait until the kernel says so.

        A group that is not stopped yet when we die gets no signal, and then stops for good.
        """
        self._process.send_signal(signal.SIGSTOP)
        wait_for(lambda: self.is_paused or not self.is_running, what=f"{self.name} stops", timeout_s=GRACE_S)

    def resume(self) -> None:
        """Let a paused program go on."""
        self._process.send_signal(signal.SIGCONT)

    def check(self) -> None:
        """Raise ProgramEnded when it has ended, unless that was asked for or is what it is to do."""
        code = self._process.poll()
        if code is None or self._killed or code in self._expected:
            return
        self._told = True
        how = "was asked to end and did" if self._asked else "ended by itself"
        raise ProgramEnded(self, f"{how} with exit code {code}")

    @property
    def _expected(self) -> Sequence[int]:
        """The exit codes that need no other explanation."""
        if self._asked:
            return WHEN_ASKED
        return (0,) if self._may_end else ()

    def kill(self) -> None:
        """End it at once, without its cooperation. Raises ProgramEnded like `stop`."""
        if self.is_running:
            self._killed = True
            self._process.kill()
        self._finish()

    def ask_to_end(self) -> None:
        """Tell it to end, also when it is paused, without waiting for it."""
        if self.is_running:
            self._asked = True
            self._process.terminate()
            self.resume()

    def stop(self) -> None:
        """Let it end by itself, and kill it when it takes too long.

        Raises ProgramEnded, when it is gone, if it had ended before or did not end well. That is told once,
        here or by `check`.
        """
        self.ask_to_end()
        try:
            wait_for(lambda: not self.is_running, what=f"the end of {self.name}", timeout_s=GRACE_S)
        except WaitTimeout:
            self._killed = True
            self._process.kill()
        self._finish()

    def _finish(self) -> None:
        self._process.wait()
        if self._over:
            return
        self._over = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._ledger.released(self._entry)
        if not self._told:
            self.check()
