"""What a test raises when it can say neither "passed" nor "failed".

Each becomes a check of its own kind with the outcome UNKNOWN. Plain pytest has no word for that: there a Void
fails, because what it was to test was not tested, and the others are skipped and named at the end. All are
ordinary exceptions: cleanup code and task groups treat them like any other.
"""

from typing import ClassVar, Literal

from kvsync.errors import KVSyncError

EVIDENCE = "evidence: "
"""How a note of an exception begins that names the folder of its evidence."""


class Unproven(KVSyncError):
    """The root of the three below; the message is the reason, shown in every report."""

    kind: ClassVar[Literal["void", "not-run", "inconclusive"]]


class Void(Unproven):
    """The test did not test: a fault had no measured effect, a precondition did not hold."""

    kind = "void"


class NotRun(Unproven):
    """The test cannot run here: something it needs (a program, a permission, a service) is missing."""

    kind = "not-run"


class Inconclusive(Unproven):
    """The test ran but what it measured decides nothing, such as too few samples."""

    kind = "inconclusive"


class Violated(AssertionError):
    """What must always hold does not; that is evidence the first time, and no second attempt undoes it."""


def violated(error: BaseException) -> bool:
    """Say whether `error` is, or is a group that has in it, a broken invariant."""
    match error:
        case BaseExceptionGroup(exceptions=members):
            return any(map(violated, members))
    return isinstance(error, Violated)


def unproven(error: BaseException) -> Unproven | None:
    """Return the verdict that `error` carries; a group carries one only when all its members do."""
    match error:
        case Unproven():
            return error
        case BaseExceptionGroup(exceptions=members):
            found = [unproven(member) for member in members]
            return found[0] if all(found) else None
    return None
