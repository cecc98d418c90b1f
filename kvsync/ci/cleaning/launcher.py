"""The process that started a run, as the run's ledger knows it. Light: every guardian imports it."""

from pathlib import Path

from kvsync.testing.processes.ledger import LedgerEntry, leftovers
from kvsync.testing.processes.living import lives

LAUNCHER = "launcher"
"""The kind of the ledger entry of the process that started a run: while it lives, the run does."""


def is_running(ledger: Path) -> bool:
    """Say whether the process that started the run is alive: then nothing has been left behind yet."""
    for entry in leftovers([ledger]):
        match entry:
            case LedgerEntry(kind="launcher", facts={"pid": int(pid), "create_time": float(born)}):
                return lives(pid, born)
    return False
