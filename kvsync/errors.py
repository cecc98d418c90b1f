"""Every error that the library raises, by what the caller can do about it.

KVSyncError
├── ConfigError       our configuration is wrong: lists every problem, mend and start again
├── UnknownName       a name was asked for that does not exist: lists the valid ones
├── PortInUse         an address is taken: says by which process where that can be known
├── DecodeError       a peer sent bytes that are not an event batch: count it by `reason`, go on
├── SnapshotError     what is remembered of a source cannot be read or written: go on without
├── IndexerError      the indexer's process does not answer, or not as this release: route by load
├── PeerError         an engine, tokenizer or other gateway gave no whole answer (kvsync.access.exchange)
│   ├── NotConnected    no connection could be made: it has seen nothing of the request
│   └── Disconnected    the connection broke before the head of an answer came
├── TokenizeError     no tokenizer answered: route without a prefix
├── NoPodReady        nothing can serve the request: answer 503, try later
├── ApiUnreachable    Kubernetes did not answer: ask again
├── ApiRefused        Kubernetes said no: says what to change, ask again later
├── ApiError          the simulator answers a request with an error (kvsync.simulator.openai)
├── EngineRestarted   the simulated engine restarted during a request (kvsync.simulator.engine)
└── OutOfBlocks       the simulated cache is full until a request ends (kvsync.simulator.blocks)

The test kit and the pipeline draw their own: kvsync.testing.errors, kvsync.ci.errors.
"""

from collections.abc import Iterable, Sequence


class KVSyncError(Exception):
    """The root of the tree above."""


def listed(what: str, problems: Sequence[str]) -> str:
    """Return how many problems there are, and each on a line of its own."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n".join([f"{what}: {count}", *problems])


class ConfigError(KVSyncError):
    """A configuration with every problem found in it, each with the path of its field."""

    def __init__(self, origin: str, problems: Iterable[str]) -> None:
        self.origin = origin
        self.problems = tuple(problems)
        super().__init__(listed(origin, self.problems))


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


class SnapshotError(KVSyncError):
    """A snapshot of a source that is damaged, foreign, too old or too large."""


class IndexerError(KVSyncError):
    """The indexer's process, or a gateway of it, is gone or says what is not understood."""


class TokenizeError(KVSyncError):
    """No tokenizer turned the prompt into token ids."""


class NoPodReady(KVSyncError):
    """No ready pod serves the model."""


class ApiUnreachable(KVSyncError):
    """No answer, or not all of it; the next one may go on where this one ended."""


class ApiRefused(KVSyncError):
    """The API server said no, or what is not understood; `code` is an HTTP status, or 0."""

    def __init__(self, text: str, code: int = 0) -> None:
        self.code = code
        super().__init__(text)
