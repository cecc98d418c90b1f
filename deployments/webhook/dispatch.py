"""Turns accepted deliveries into flow runs, for as long as it takes.

- A delivery is finished in the inbox after its flow run exists. If we are killed in between, the next attempt
  has the same idempotency key and gets the same flow run.
- One delivery has its turn at a time, in the order of arrival. It keeps the turn while Prefect is away, so
  that everything waits; a missing deployment or an unknown commit keeps only its own delivery waiting.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from prefect.client.orchestration import PrefectClient, get_client
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from tenacity.wait import wait_exponential, wait_random_exponential

from deployments.webhook.approval import Approvals
from deployments.webhook.decision import Ask, Cancel, CommandAnswer, Start, Work, request, tag
from deployments.webhook.feedback import Feedback
from deployments.webhook.heads import Heads
from deployments.webhook.inbox import Delivery, Inbox
from deployments.webhook.metrics import ReceiverMetrics
from deployments.webhook.refusal import NotNow, RunRefused
from deployments.webhook.runs import cancel, commit_of, create, stages_of
from kvsync.ci.run.parameters import CommitSource
from kvsync.errors import ConfigError
from kvsync.ratelimit import RateLimit

log = logging.getLogger(__name__)

PAUSE = wait_exponential(0.25, max=30) + wait_random_exponential(0.25, max=30)
"""After a failure: half a second, twice as long each time, up to a minute; chance takes off up to a half."""
ATTEMPT_TIMEOUT_S = 30.0
FILES_TIMEOUT_S = 15.0
"""For GitHub to say what a pull request touches; after that it is run."""
IDLE_S = 600.0
"""How often the inbox is looked at and pruned when nothing comes in."""
LOG_INTERVAL_S = 30.0

INBOX = 0
"""The key of the inbox among what is in trouble; deliveries count from 1."""


class Dispatcher:
    """Reads the inbox and starts runs until it is cancelled."""

    def __init__(
        self,
        inbox: Inbox,
        heads: Heads,
        approvals: Approvals,
        feedback: Feedback,
        metrics: ReceiverMetrics,
        *,
        clock: Callable[[], float],
        open_client: Callable[[], PrefectClient] = get_client,
    ) -> None:
        self._inbox, self._heads, self._approvals, self._metrics = inbox, heads, approvals, metrics
        self._feedback, self._open_client = feedback, open_client
        self._troubles: dict[int, str] = {}
        self._turn = asyncio.Lock()
        self._spoken = RateLimit(LOG_INTERVAL_S, clock)
        self._woken = asyncio.Event()

    @property
    def trouble(self) -> str:
        """Why something waits; "" if nothing has failed."""
        return next(filter(None, self._troubles.values()), "")

    def wake(self) -> None:
        """Say that there is something new in the inbox."""
        self._woken.set()

    async def run(self) -> None:
        """Dispatch until cancelled."""
        async with self._open_client() as client, asyncio.TaskGroup() as tasks:
            while True:
                self._woken.clear()
                arrived: list[Delivery] = await self._retrying(INBOX, _is_error)(self._arrived)
                for delivery in arrived:
                    self._troubles[delivery.number] = ""
                    tasks.create_task(self._deliver(client, delivery))
                self._troubles.pop(INBOX, None)
                with suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_S):
                        await self._woken.wait()

    async def _arrived(self) -> list[Delivery]:
        """Return what waits in the inbox and is not being delivered yet."""
        for lost in await asyncio.to_thread(self._inbox.prune):
            log.error("delivery %s waited 30 days in vain and is forgotten", lost)
        waiting = await asyncio.to_thread(self._inbox.waiting)
        return [delivery for delivery in waiting if delivery.number not in self._troubles]

    async def _deliver(self, client: PrefectClient, delivery: Delivery) -> None:
        """Try a delivery until it is finished."""

        async def in_turn() -> None:
            async with self._turn:
                await self._retrying(delivery.number, _is_away)(self._attempt, client, delivery)

        await self._retrying(delivery.number, _is_error)(in_turn)
        del self._troubles[delivery.number]

    async def _attempt(self, client: PrefectClient, delivery: Delivery) -> None:
        """Try a delivery once, unless it was finished elsewhere or forgotten meanwhile."""
        if not await asyncio.to_thread(self._inbox.is_waiting, delivery):
            return
        flow_run = None
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                outcome, flow_run = await self._dispatch(client, delivery)
        except (RunRefused, ConfigError) as exc:
            outcome = f"refused: {exc}"
            await self._answer(delivery.work, str(exc))
        except TimeoutError as exc:
            raise NotNow("prefect", f"no answer within {ATTEMPT_TIMEOUT_S:g} s") from exc
        await asyncio.to_thread(self._inbox.finish, delivery, outcome, flow_run)
        self._metrics.dispatched.labels(outcome.partition(":")[0]).inc()
        log.info("delivery %s: %a %s", delivery.delivery, outcome, flow_run or "")

    async def _dispatch(self, client: PrefectClient, delivery: Delivery) -> tuple[str, str | None]:
        work = delivery.work
        if work.supersedes and await asyncio.to_thread(self._inbox.is_superseded, delivery):
            return "superseded", None
        match work:
            case Start():
                return await self._start(client, delivery, work)
            case Cancel():
                await self._cancel_older(client, delivery, "it is not asked for any more")
                return "cancelled", None
            case CommandAnswer():
                await asyncio.to_thread(self._feedback.answer, work)
                return "answered", None

    async def _start(self, client: PrefectClient, delivery: Delivery, start: Start) -> tuple[str, str | None]:
        source = start.source
        if isinstance(source, Ask):
            source = await asyncio.to_thread(self._heads.find, source)
        if start.supersedes and await self._touches_nothing(source):
            await self._cancel_older(client, delivery, f"superseded by {source.commit}", source.commit)
            stages = await stages_of(client, start.deployment, source.repository)
            await asyncio.to_thread(self._feedback.skip, source, stages, "only documents changed")
            return "ignored: it touches nothing but webhook.ignored_paths", None
        if held := await asyncio.to_thread(self._approvals.objection, delivery, start, source):
            if start.supersedes:
                await self._cancel_older(client, delivery, f"superseded by {source.commit}", source.commit)
            if held.startswith("ignored: "):
                await self._answer(start, held.removeprefix("ignored: "))
            return held, None
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

    async def _answer(self, work: Work, text: str) -> None:
        """Tell who gave a command why it came to nothing."""
        if not isinstance(work, Start) or not work.said or not isinstance(work.source, Ask):
            return
        source = work.source
        answer = CommandAnswer(
            repository=source.repository, number=source.pull_request or 0, said=work.said, text=text
        )
        with suppress(NotNow):  # that it came to nothing is decided
            await asyncio.to_thread(self._feedback.answer, answer)

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

    def _retrying(self, key: int, retried: Callable[[BaseException], bool]) -> AsyncRetrying:
        """Return what calls a function again and again, as long as its errors are to be `retried`."""
        return AsyncRetrying(
            retry=retry_if_exception(retried),
            wait=PAUSE,
            before_sleep=lambda state: self._postpone(key, state),
        )

    def _postpone(self, key: int, state: RetryCallState) -> None:
        cause = state.outcome.exception() if state.outcome else None
        why = cause if isinstance(cause, NotNow) else NotNow("defect", repr(cause))
        self._metrics.failures.labels(why.reason).inc()
        self._troubles[key] = why.reason
        held_back = self._spoken.admit()
        if held_back is not None:
            log.warning(
                "a delivery waits: %s (and %d messages like it held back)",
                why,
                held_back,
                exc_info=cause if why.reason == "defect" else None,
            )


def _is_error(exc: BaseException) -> bool:
    """Any error, also a defect: whatever it is, what was accepted must not be forgotten."""
    return isinstance(exc, Exception)


def _is_away(exc: BaseException) -> bool:
    return isinstance(exc, NotNow) and exc.reason == "prefect"
