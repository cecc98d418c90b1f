"""Turns accepted deliveries into flow runs, for as long as it takes.

- A delivery is finished in the inbox after its flow run exists. Killed in between, the next attempt has
  the same idempotency key and gets the same flow run.
- When Prefect is away everything waits; a missing deployment or an unknown commit keeps only its own
  delivery waiting.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress

from prefect.client.orchestration import PrefectClient, get_client

from deployments.webhook.decision import Ask, Cancel, Start, request, tag
from deployments.webhook.heads import Heads
from deployments.webhook.inbox import Delivery, Inbox
from deployments.webhook.metrics import ReceiverMetrics
from deployments.webhook.refusal import NotNow, RunRefused
from deployments.webhook.runs import cancel, commit_of, create
from kvsync.ci.run.parameters import CommitSource
from kvsync.errors import ConfigError
from kvsync.ratelimit import RateLimit

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 60.0
ATTEMPT_TIMEOUT_S = 30.0
FILES_TIMEOUT_S = 15.0
"""For GitHub to say what a pull request touches; after that it is run."""
IDLE_S = 600.0
"""How often the inbox is looked at and pruned when nothing comes in."""
LOG_INTERVAL_S = 30.0

PREFECT = 0
"""The key of Prefect's API in the back-off; deliveries count from 1."""


class Backoff:
    """How long each thing that failed is left alone: twice as long each time, up to a minute, with jitter."""

    def __init__(self, rng: random.Random, clock: Callable[[], float]) -> None:
        self._rng, self._clock = rng, clock
        self._attempts: dict[int, int] = {}
        self._until: dict[int, float] = {}

    def failed(self, key: int) -> None:
        """Take note of a failure."""
        attempts = self._attempts[key] = self._attempts.get(key, 0) + 1
        pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** min(attempts - 1, 16))
        self._until[key] = self._clock() + pause_s * self._rng.uniform(0.5, 1.0)

    def succeeded(self, key: int) -> None:
        """Forget its failures."""
        self._attempts.pop(key, None)
        self._until.pop(key, None)

    def remaining(self, key: int) -> float:
        """Return for how many seconds more it is left alone."""
        return max(0.0, self._until.get(key, 0.0) - self._clock())

    def attempts(self, key: int) -> int:
        """Return how often it failed in a row."""
        return self._attempts.get(key, 0)


class Dispatcher:
    """Reads the inbox and starts runs until it is cancelled. `trouble` is why something waits, "" if none."""

    def __init__(
        self,
        inbox: Inbox,
        heads: Heads,
        metrics: ReceiverMetrics,
        *,
        rng: random.Random,
        clock: Callable[[], float],
        open_client: Callable[[], PrefectClient] = get_client,
    ) -> None:
        self.trouble = ""
        self._inbox, self._heads, self._metrics = inbox, heads, metrics
        self._open_client = open_client
        self._backoff = Backoff(rng, clock)
        self._spoken = RateLimit(LOG_INTERVAL_S, clock)
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Say that there is something new in the inbox."""
        self._woken.set()

    async def run(self) -> None:
        """Dispatch until cancelled."""
        while True:
            self._woken.clear()
            try:
                pause_s = await self._sweep()
            except Exception as exc:  # whatever it is, what was accepted must not be forgotten
                self._postpone(PREFECT, NotNow("defect", repr(exc)), exc)
                pause_s = self._backoff.remaining(PREFECT)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()
                    # What comes in while Prefect is away does not shorten the pause.
                    await asyncio.sleep(self._backoff.remaining(PREFECT))

    async def _sweep(self) -> float:
        """Try once what is due; returns after how many seconds there will be more to do."""
        for lost in await asyncio.to_thread(self._inbox.prune):
            log.error("delivery %s waited 30 days in vain and is forgotten", lost)
        waiting = await asyncio.to_thread(self._inbox.waiting)
        if not waiting:
            self.trouble = ""
            return IDLE_S
        async with self._open_client() as client:
            for delivery in waiting:
                if self._backoff.remaining(delivery.number):
                    continue
                if not await self._attempt(client, delivery):
                    return self._backoff.remaining(PREFECT)
        left = [delivery.number for delivery in waiting if self._backoff.attempts(delivery.number)]
        if not left:
            self.trouble = ""
        return min((self._backoff.remaining(number) for number in left), default=0.0)

    async def _attempt(self, client: PrefectClient, delivery: Delivery) -> bool:
        """Try one delivery; False when there is no use in trying others."""
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                outcome, flow_run = await self._dispatch(client, delivery)
        except (RunRefused, ConfigError) as exc:
            outcome, flow_run = f"refused: {exc}", None
        except TimeoutError as exc:
            self._postpone(PREFECT, NotNow("prefect", f"no answer within {ATTEMPT_TIMEOUT_S:g} s"), exc)
            return False
        except NotNow as exc:
            self._postpone(PREFECT if exc.reason == "prefect" else delivery.number, exc, exc)
            return exc.reason != "prefect"
        except Exception as exc:  # a defect in one delivery must not stop the others
            self._postpone(delivery.number, NotNow("defect", repr(exc)), exc)
            return True
        await asyncio.to_thread(self._inbox.finish, delivery, outcome, flow_run)
        for key in (PREFECT, delivery.number):
            self._backoff.succeeded(key)
        self._metrics.dispatched.labels(outcome.partition(":")[0]).inc()
        log.info("delivery %s: %a %s", delivery.delivery, outcome, flow_run or "")
        return True

    async def _dispatch(self, client: PrefectClient, delivery: Delivery) -> tuple[str, str | None]:
        work = delivery.work
        if work.supersedes and await asyncio.to_thread(self._inbox.is_superseded, delivery):
            return "superseded", None
        match work:
            case Start():
                return await self._start(client, delivery, work)
            case Cancel():
                await self._cancel_older(client, delivery, "the pull request was closed")
                return "cancelled", None

    async def _start(self, client: PrefectClient, delivery: Delivery, start: Start) -> tuple[str, str | None]:
        source = start.source
        if isinstance(source, Ask):
            source = await asyncio.to_thread(self._heads.find, source)
        if start.supersedes and await self._touches_nothing(source):
            await self._cancel_older(client, delivery, f"superseded by {source.commit}", source.commit)
            return "ignored: it touches nothing but webhook.ignored_paths", None
        run = await create(
            client,
            start.deployment,
            lambda defaults: request(start, source, defaults),
            key=delivery.key,
            tags=start.tags,
        )
        if start.supersedes:
            await self._cancel_older(client, delivery, f"superseded by {source.commit}", source.commit)
        return "started", str(run.id)

    async def _touches_nothing(self, source: CommitSource) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(FILES_TIMEOUT_S):
                return await asyncio.to_thread(self._heads.touches_nothing, source)
        return False

    async def _cancel_older(
        self, client: PrefectClient, newer: Delivery, message: str, commit: str = ""
    ) -> None:
        """Cancel the runs of older deliveries of the pull request, except those of the same commit."""
        await cancel(
            client,
            tag(newer.pull_request),
            lambda run: self._inbox.is_older(run.idempotency_key, newer) and commit_of(run) != commit,
            message=message,
        )

    def _postpone(self, key: int, why: NotNow, cause: BaseException) -> None:
        self._backoff.failed(key)
        self._metrics.failures.labels(why.reason).inc()
        self.trouble = why.reason
        held_back = self._spoken.admit()
        if held_back is not None:
            log.warning(
                "a delivery waits: %s (and %d messages like it held back)",
                why,
                held_back,
                exc_info=cause if why.reason == "defect" else None,
            )
