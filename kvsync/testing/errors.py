"""Every error that the test kit raises, by what the caller can do about it.

KVSyncError (kvsync.errors)
├── CommandError      a command failed: carries argv, exit code and the end of its output
├── WaitTimeout       a condition did not come true in time: carries what was last seen
├── ClusterError      a test cluster could not do what was asked
│   ├── ProgramEnded         a program ended by itself, or failed (kvsync.testing.processes.program)
│   └── InfrastructureError  what carries it failed: no verdict on the product that runs in it
│       └── Forbidden        a right is missing there (kvsync.testing.clusters.kubernetes.api_errors)
└── Unproven          a test can say neither "passed" nor "failed" (kvsync.testing.results.verdicts)
    ├── Void          the test did not test
    ├── NotRun        something that the test needs is missing here
    └── Inconclusive  what was measured decides nothing

AssertionError
└── Violated          what must always hold does not (kvsync.testing.results.verdicts)
"""

from collections.abc import Sequence

from kvsync.errors import KVSyncError


class CommandError(KVSyncError):
    """A command that did not exit with 0, with the end of what it printed."""

    def __init__(self, argv: Sequence[str], outcome: str, tail: str = "") -> None:
        self.argv, self.outcome, self.tail = tuple(argv), outcome, tail
        super().__init__("\n".join(filter(None, [f"{' '.join(argv)}: {outcome}", tail.rstrip()])))


class WaitTimeout(KVSyncError):
    """A condition that did not come true in time."""

    def __init__(self, what: str, timeout_s: float, last_seen: object) -> None:
        self.what, self.timeout_s, self.last_seen = what, timeout_s, last_seen
        super().__init__(f"not within {timeout_s:g} s: {what}; last seen: {last_seen}")


class ClusterError(KVSyncError):
    """A test cluster could not be created, changed or deleted."""


class InfrastructureError(ClusterError):
    """What carries a test cluster failed it, not the product that runs in it."""
