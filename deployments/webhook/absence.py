"""What GitHub sent in vain, such as while the receiver was away: it is seen in branches and pull requests.

GitHub does not send again what it could not deliver. So at the start, and now and then, it is asked for the
heads of followed branches, of open pull requests that changed since the last time, and of merge queues. One
that no delivery told of and that has no status of ours is decided like a delivery, once: the delivery that
comes late finds it done. What leaves no head, such as a comment, GitHub is asked to send again.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from deployments.webhook.decision import Ignore, decide, place_of
from deployments.webhook.heads import Heads
from deployments.webhook.hooks import Hooks
from deployments.webhook.inbox import Inbox, missed_name
from deployments.webhook.payload import WebhookEvent
from deployments.webhook.refusal import NotNow, RunRefused
from kvsync.ci.settings import Settings

log = logging.getLogger(__name__)

INTERVAL_S = 600.0
OVERLAP = timedelta(minutes=2)
"""Clocks differ, and a delivery may have been on its way."""


class Absence:
    """Looks for what was missed and writes it into the inbox. `clock` gives Unix time."""

    def __init__(
        self,
        inbox: Inbox,
        heads: Heads,
        hooks: Hooks,
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._inbox, self._heads, self._hooks, self._clock = inbox, heads, hooks, clock
        self._unheard: set[str] = set()
        self._settings, self._context = settings, settings.github.context
        self._may_ask = bool(settings.github.token.get_secret_value())

    async def run(self, wake: Callable[[], None]) -> None:
        """Catch up now and then, until cancelled; `wake` is called when something was found."""
        while self._may_ask:
            try:
                if await asyncio.to_thread(self.catch_up):
                    wake()
            except Exception as exc:  # what it finds is a help, and must not end the receiver
                known = isinstance(exc, NotNow)
                log.warning("it is not known what was missed: %s", exc, exc_info=None if known else exc)
            await asyncio.sleep(INTERVAL_S)

    def catch_up(self) -> int:
        """Write down what was missed; returns how much. Blocks. Raises NotNow.

        Before the first start nothing was missed.
        """
        now, since = self._clock(), self._inbox.present_until()
        found = 0
        if since is not None:
            before = datetime.fromtimestamp(since, UTC) - OVERLAP
            for repository in self._settings.webhook.repositories:
                try:
                    for event in self._heads.missed(repository, self._settings.webhook.branches, before):
                        found += self._take(event)
                except RunRefused as exc:
                    log.warning("%s", exc)
                    continue
                self._hear_again(repository, before)
        self._inbox.be_present(now)
        return found

    def _hear_again(self, repository: str, since: datetime) -> None:
        """Have GitHub send again what leaves no head; why it cannot is said once."""
        try:
            if sent := self._hooks.send_again(repository, since, self._inbox.has):
                log.info("GitHub sends %d deliveries of %s again", sent, repository)
        except RunRefused as exc:
            if str(exc) not in self._unheard:
                log.warning("%s", exc)
            self._unheard.add(str(exc))

    def _take(self, event: WebhookEvent) -> bool:
        """Decide an event that led to how things stand; False if there is nothing to do about it."""
        place = place_of(event, self._settings)
        if place is None or self._inbox.knows(*place):
            return False
        name, commit = event.repository.full_name, place[1]
        work = decide(event, self._settings)
        if isinstance(work, Ignore):
            return False
        is_missed = not self._heads.has_status(name, commit, self._context)
        if is_missed:
            log.info("no delivery told of %s at %s", *place)
            is_missed = self._inbox.add(missed_name(*place), work)
        self._inbox.note(*place)
        return is_missed
