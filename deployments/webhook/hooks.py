"""Deliveries that GitHub could not hand over, which it is asked to send again.

Comments and dispatched workflows leave no head to find. GitHub does not repeat a delivery by itself, but
keeps each for three days, and sends one again under the same id (GUID): it comes to the receiver like any
other, and the inbox has it once. That takes a token that may read and write the repository's webhooks.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from github import GithubException, RateLimitExceededException
from github.Hook import Hook

from deployments.webhook.heads import mapped, open_github
from deployments.webhook.refusal import RunRefused
from kvsync.ci.settings import GitHubSettings

PATHS = ("/webhook", "/github")
"""Of the receiver; behind a proxy, how the hook's address ends."""

WITHOUT_HEAD = (("issue_comment", "created"), ("workflow_dispatch", ""))
"""Events that start something, by name and action, and that nothing else tells of later."""

DECIDED = frozenset({*range(200, 300), 400, 401, 413, 415})
"""What the receiver answers when it has read a delivery; it answers the same again."""

MOST_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingAttempt:
    """One attempt of GitHub's to hand a delivery over. `id` is its own, `guid` the delivery's.

    `status`: what was answered, 0 for nothing.
    """

    id: int
    guid: str
    event: str
    action: str
    status: int
    at: datetime


def undelivered(attempts: Iterable[SendingAttempt]) -> list[SendingAttempt]:
    """Return the deliveries to be sent again, the oldest first: the last attempt at each."""
    by_delivery: dict[str, list[SendingAttempt]] = defaultdict(list)
    for each in attempts:
        if any(each.event == event and action in ("", each.action) for event, action in WITHOUT_HEAD):
            by_delivery[each.guid].append(each)
    found = [
        max(tries, key=lambda each: (each.at, each.id))
        for tries in by_delivery.values()
        if len(tries) < MOST_ATTEMPTS and not any(each.status in DECIDED for each in tries)
    ]
    return sorted(found, key=lambda each: (each.at, each.id))


class Hooks:
    """The part of GitHub's API about hooks. Blocks."""

    def __init__(self, settings: GitHubSettings) -> None:
        self._github = open_github(settings)

    def send_again(self, repository: str, since: datetime, is_known: Callable[[str], bool]) -> int:
        """Have GitHub send what it could not deliver since a time and what is not known; returns how much.

        Raises NotNow, or RunRefused with the mend where it may not.
        """
        what = f"comments that were missed in {repository}"
        with mapped(what):
            try:
                hooks = [hook for hook in self._github.get_repo(repository).get_hooks() if _is_ours(hook)]
                if not hooks:
                    raise RunRefused(
                        f"{what}: it has no active hook whose address ends with {' or '.join(PATHS)}"
                    )
                return sum(self._send_again(repository, hook, since, is_known) for hook in hooks)
            except GithubException as exc:
                if exc.status in (401, 403, 404) and not isinstance(exc, RateLimitExceededException):
                    mend = "KVSYNC_CI_GITHUB_TOKEN may not read and write its webhooks"
                    raise RunRefused(f"{what} stay unheard: GitHub answered {exc.status}; {mend}") from exc
                raise

    def _send_again(
        self, repository: str, hook: Hook, since: datetime, is_known: Callable[[str], bool]
    ) -> int:
        lost = [
            each for each in undelivered(self._attempts(repository, hook, since)) if not is_known(each.guid)
        ]
        for each in lost:
            again = f"/repos/{repository}/hooks/{hook.id}/deliveries/{each.id}/attempts"
            self._github.requester.requestJsonAndCheck("POST", again)
        return len(lost)

    def _attempts(self, repository: str, hook: Hook, since: datetime) -> Iterable[SendingAttempt]:
        """Yield the attempts since a time, the last one first."""
        for each in self._github.get_repo(repository).get_hook_deliveries(hook.id):
            raw = each.raw_data
            at = datetime.fromisoformat(raw["delivered_at"])
            if at < since:
                return
            yield SendingAttempt(
                id=raw["id"],
                guid=raw["guid"],
                event=raw["event"],
                action=raw["action"] or "",
                status=raw["status_code"] or 0,
                at=at,
            )


def _is_ours(hook: Hook) -> bool:
    path = urlsplit(str(hook.config.get("url", ""))).path
    return bool(hook.active) and path.rstrip("/").endswith(PATHS)
