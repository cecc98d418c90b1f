"""Every error that the pipeline's machinery raises, by what the caller can do about it.

KVSyncError (kvsync.errors)
├── StoreError        a report was not stored, read or removed: says where and the mend, and if to retry
├── ArchiveError      the archive cannot be used: says which, why and the mend (kvsync.ci.archive.database)
├── Refused           what came out of a box is not what may come out (kvsync.ci.box.records)
├── NoRepository      a folder that was to be tested is not there
├── Damaged           a file of results is not what it should be (kvsync.ci.readers.bounds)
│   └── Unrecognized  it is in no format that is read (kvsync.ci.readers.formats)
├── Stopped           no time is left for an experiment (kvsync.ci.chaos.experiment)
├── NotRun (kvsync.testing.results.verdicts)
│   └── NotReady      a service that a stage needs did not become ready (kvsync.ci.services.service)
├── Unmeasured        nothing can be said of a stage's coverage: why, and the mend (kvsync.ci.stages.profiles)
├── NotCompared       nothing can be said of two versions: why (kvsync.ci.stages.compared.stage)
├── NotSent           GitHub did not take something: says the mend, and if to retry (kvsync.ci.notify.github)
└── ClusterError (kvsync.testing.errors)
    └── CannotRun     what a run needs is missing here: lists every problem with its mend
"""

from collections.abc import Iterable

from kvsync.errors import KVSyncError, listed
from kvsync.testing.errors import ClusterError


class StoreError(KVSyncError):
    """A store of reports that did not do what was asked; `passing` when the same call may work later."""

    def __init__(self, what: str, problem: str, mend: str, *, passing: bool = False) -> None:
        self.mend, self.passing = mend, passing
        super().__init__(f"cannot {what}: {problem}; {mend}")


class NoRepository(KVSyncError):
    """What was to be tested is not there."""


class CannotRun(ClusterError):
    """Something that a run needs is missing on this machine; says how to mend each problem."""

    def __init__(self, what: str, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(listed(what, self.problems))
