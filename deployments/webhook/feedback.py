"""What GitHub is told before there is a run, or instead of one. Blocks."""

import logging
from collections.abc import Callable, Sequence

from deployments.webhook.decision import CommandAnswer
from deployments.webhook.refusal import NotNow
from kvsync.ci.notify.github import GitHub
from kvsync.ci.notify.github_text import answer_comment, skipped, stage_context
from kvsync.ci.notify.messages import CommitStatus, NotSent, StickyComment
from kvsync.ci.run.parameters import CommitSource
from kvsync.ci.settings import GitHubSettings

log = logging.getLogger(__name__)

PATIENCE_S = 3.0
TIMEOUT_S = 3
"""For GitHub: the dispatcher has other deliveries, and tries again by itself."""


class Feedback:
    """Speaks at GitHub with the pipeline's token. Methods raise NotNow where it may take that later."""

    def __init__(self, github: GitHubSettings) -> None:
        self._github = github

    def tell(
        self, source: CommitSource, statuses: Sequence[CommitStatus], comment: StickyComment | None = None
    ) -> None:
        """Say how a commit stands, and on its pull request why; only the log of one on another server."""
        if not source.repository:
            log.info(
                "%s at %s is %a; only GitHub is told", source.url, source.commit, statuses[0].description
            )
            return

        def say(github: GitHub) -> None:
            for status in statuses:
                github.set_status(source.repository, source.commit, status)
            if comment and source.pull_request:
                github.keep_comment(source.repository, source.pull_request, comment)

        self._say(say, f"that a commit is {statuses[0].description}")

    def skip(self, source: CommitSource, stages: Sequence[str], why: str) -> None:
        """Give a commit every status that it may be required to have: there is nothing to test."""
        context = self._github.context
        names = [context, *(stage_context(context, stage) for stage in stages)]
        self.tell(source, [skipped(name, why) for name in names])

    def answer(self, answer: CommandAnswer) -> None:
        """React to a command that came to nothing, and say why in the one comment for that."""
        said = answer.said
        comment = answer_comment(self._github.context, said.by, said.text, answer.text)

        def say(github: GitHub) -> None:
            if said.comment:
                github.react(answer.repository, said.comment, "confused")
            github.keep_comment(answer.repository, answer.number, comment)

        self._say(say, f"why a command of {said.by} came to nothing")

    def _say(self, say: Callable[[GitHub], None], what: str) -> None:
        if not self._github.token:
            log.warning("GitHub is not told %a; put a token into KVSYNC_CI_GITHUB_TOKEN", what)
            return
        with GitHub(self._github, patience_s=PATIENCE_S, timeout_s=TIMEOUT_S) as github:
            try:
                say(github)
            except NotSent as exc:
                log.warning("%s", exc)
                if exc.passing:
                    raise NotNow("github", str(exc)) from exc
