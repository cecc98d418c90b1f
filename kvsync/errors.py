"""Every error this package raises, by what the caller can do about it.

KVSyncError
├── ConfigError       our configuration is wrong: lists every problem, mend and start again
├── UnknownName       a name was asked for that does not exist: lists the valid ones
├── PortInUse         an address is taken: says by whom where that can be known
├── DecodeError       a peer sent bytes that are no event batch: count it by `reason`, go on
├── TokenizeError     no tokenizer answered: route without a prefix
├── NoPodReady        nothing can serve the request: answer 503, try later
├── CommandError      a command failed: carries argv, exit code and the end of its output
├── WaitTimeout       a condition did not come true in time: carries what was last seen
├── StoreError        a report could not be stored, read or removed: says where and the mend, and if to retry
└── ClusterError      a test cluster could not do what was asked
    ├── CannotRun     what it needs is missing here: lists every problem with its mend
    └── InfrastructureError  what carries it failed: no verdict on the product that runs in it
"""

from collections.abc import Iterable, Sequence


class KVSyncError(Exception):
    """The root of the tree above."""


class ConfigError(KVSyncError):
    """A configuration with every problem found in it, each with the path of its field."""

    def __init__(self, origin: str, problems: Iterable[str]) -> None:
        self.origin = origin
        self.problems = tuple(problems)
        super().__init__("\n".join([f"{origin}: {len(self.problems)} problem(s)", *self.problems]))


class UnknownName(KVSyncError):
    """A name that is not one of those that exist."""

    def __init__(self, kind: str, name: str, valid: Iterable[str]) -> None:
        self.kind, self.name, self.valid = kind, name, tuple(valid)
        super().__init__(f"unknown {kind} {name!r}; valid: {', '.join(self.valid)}")


class PortInUse(KVSyncError):
    """An address that another process listens on already."""

    def __init__(self, address: str, owner: str | None = None) -> None:
        self.address, self.owner = address, owner
        by = f" by {owner}" if owner else " by a process this user cannot see"
        super().__init__(f"{address} is in use{by}; stop it or choose another port")


class DecodeError(KVSyncError):
    """Bytes from a peer that are not an event batch; `reason` is a short label fit for a metric."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}")


class TokenizeError(KVSyncError):
    """No tokenizer turned the prompt into token ids."""


class NoPodReady(KVSyncError):
    """No ready pod serves the model."""


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


class StoreError(KVSyncError):
    """A store of reports that did not do what was asked; `passing` when the same call may work later."""

    def __init__(self, what: str, problem: str, mend: str, *, passing: bool = False) -> None:
        self.mend, self.passing = mend, passing
        super().__init__(f"cannot {what}: {problem}; {mend}")


class ClusterError(KVSyncError):
    """A test cluster could not be created, changed or deleted."""


class CannotRun(ClusterError):
    """A machine without something that a run needs, with the mend of each."""

    def __init__(self, what: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([f"{what}: {len(self.problems)} problem(s)", *self.problems]))


class InfrastructureError(ClusterError):
    """What carries a test cluster failed it, not the product that runs in it."""
