"""Commands that have to succeed: their output goes to one log, and ends up in the error when they fail."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kvsync.testing.errors import CommandError
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.runner import run

SHOWN_CHARACTERS = 2000
"""The end of the output that an error carries; the log has all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Runs commands one after the other; when `stop` is set the one that is running is ended.

    Their temporary files go to the folder `temporary`, because a command that is killed leaves some. They
    inherit `environ`, or what this process has if that is None.
    """

    log: Path
    ledger: Ledger
    stop: threading.Event | None = None
    temporary: Path | None = None
    environ: Mapping[str, str] | None = field(default=None, repr=False)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        env: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> str:
        """Return what a command printed; `env` and `descriptors` are added to what it inherits.

        Raises CommandError when it fails, takes too long or is ended.
        """
        if self.temporary is not None:
            env = {"TMPDIR": str(self.temporary), **(env or {})}
        result = run(
            argv,
            log=self.log,
            timeout_s=timeout_s,
            ledger=self.ledger,
            env=env,
            environ=self.environ,
            descriptors=descriptors,
            stop=self.stop,
        )
        if result.exit_code == 0 and not (result.timed_out or result.stopped):
            return result.tail
        outcome = f"exit code {result.exit_code}"
        if result.timed_out:
            outcome = f"not done within {timeout_s:g} s"
        elif result.stopped:
            outcome = "interrupted"
        raise CommandError(argv, outcome, result.tail[-SHOWN_CHARACTERS:])
