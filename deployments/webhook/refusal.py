"""Why an accepted delivery is not started, by what can be done about it.

KVSyncError (kvsync.errors)
├── RunRefused        it can never be started: says why
└── NotNow            it may be started later: says whose fault it is
"""

from typing import Literal

from kvsync.errors import KVSyncError


class RunRefused(KVSyncError):
    """It can never be started; the text says why."""


class NotNow(KVSyncError):
    """To be tried again later; `reason` is whose fault it is, fit for a metric."""

    def __init__(self, reason: Literal["prefect", "deployment", "github", "defect"], detail: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}")
