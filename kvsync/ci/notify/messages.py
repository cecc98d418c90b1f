"""What is said on GitHub, and that it was not: values, without the client that sends them.

Apart from it because PyGithub takes 0.3 s to import, and most runs have nothing to send.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kvsync.errors import KVSyncError

CommitState = Literal["pending", "success", "failure", "error"]


class NotSent(KVSyncError):
    """GitHub did not take something; says what, why, and how to mend it.

    `passing` if it may take it later without anyone doing anything about it.
    """

    def __init__(self, text: str, *, passing: bool) -> None:
        self.passing = passing
        super().__init__(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitStatus:
    """A status of a commit; `link` is an http(s) address or ""."""

    context: str
    state: CommitState
    description: str
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StickyComment:
    """A comment that is there once: an earlier one that begins with `mark` is edited if it may be replaced.

    `replaces` is asked with the text of the earlier one.
    """

    mark: str
    body: str
    replaces: Callable[[str], bool] = lambda _: True


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueChange:
    """What becomes of an issue: its text, whether it is open afterwards, and the news for its readers."""

    title: str
    body: str
    is_open: bool = True
    news: StickyComment | None = None
