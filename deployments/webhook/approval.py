"""Whether a fork's commit may run: it waits for a yes, and GitHub is told that it does.

A yes is to one commit: the head of the pull request that was known before the comment was made, by GitHub's
time and by the order of arrival, or the one that the comment names; and GitHub has to say that it still is
the head. What has its yes keeps it, in the inbox, for the pull request to be reopened or tested again.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from deployments.webhook.decision import Approval, Start, mismatch
from deployments.webhook.feedback import Feedback
from deployments.webhook.heads import Heads
from deployments.webhook.inbox import Delivery, Inbox
from deployments.webhook.refusal import NotNow, RunRefused
from kvsync.ci.notify.github_text import WAITING, pending, waiting_comment
from kvsync.ci.run.parameters import CommitSource
from kvsync.ci.settings import GitHubSettings


class Approvals:
    """Decides at the inbox and GitHub. `clock` gives Unix time."""

    def __init__(
        self,
        inbox: Inbox,
        heads: Heads,
        github: GitHubSettings,
        forks: Literal["approve", "confined", "never"],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._inbox, self._heads, self._github, self._forks = inbox, heads, github, forks
        self._clock, self._feedback = clock, Feedback(github)

    def objection(self, delivery: Delivery, start: Start, source: CommitSource) -> str:
        """Return the outcome of a delivery whose commit does not run now, "" if it may. Blocks.

        Raises NotNow and RunRefused.
        """
        if source.trusted or self._forks == "confined":
            return "ignored: it needs no yes" if start.approval else ""
        if self._forks == "never":
            raise RunRefused("it is a fork's, and webhook.forks = never")
        if start.approval:
            return self._approve(delivery, start.approval, source)
        if start.vouched:
            self._inbox.clear(delivery, source.commit)
        elif self._inbox.cleared_by(delivery, source.commit) is None:
            return self._hold(source, WAITING)
        return ""

    def _approve(self, delivery: Delivery, approval: Approval, head: CommitSource) -> str:
        if not approval.is_actor and not self._heads.may_write(head.repository, approval.by):
            return f"ignored: {approval.by} may not approve"
        # By this delivery, if it is tried again.
        if self._inbox.cleared_by(delivery, head.commit) not in (None, delivery.delivery):
            return "ignored: it was approved before"
        match self._inbox.head_before(delivery):
            case Start(source=CommitSource(commit=seen)):
                pass
            case _:
                seen = ""
        if why := mismatch(approval, head.commit, seen):
            return self._hold(head, why)
        self._inbox.clear(delivery, head.commit)
        with suppress(NotNow):
            self._feedback.tell(head, [pending(self._github.context, f"approved by {approval.by}")])
        return ""

    def _hold(self, source: CommitSource, why: str) -> str:
        moment = f"{datetime.fromtimestamp(self._clock(), UTC):%Y%m%d-%H%M%S}"
        comment = waiting_comment(self._github.context, source.commit, moment)
        self._feedback.tell(source, [pending(self._github.context, WAITING)], comment)
        return f"held: {why}"
