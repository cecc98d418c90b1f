"""The index follows the pods: one subscriber for each publisher of each pod that discovery knows.

Only this module starts subscribers. What a publisher announced is forgotten when its pod is deleted, moves to
another address or serves another model. A subscriber that fails is started again and disturbs no other. All
of this, and all writing to the index, happens in one event loop.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from kvsync.config import SubscriberOptions
from kvsync.connection import Context
from kvsync.discovery import Discovery
from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, Event, EventBatch, Source
from kvsync.index import TAKEN, PrefixIndex
from kvsync.pods import Pod
from kvsync.sequence import State
from kvsync.snapshots.snapshot import SourceSnapshot, unfit
from kvsync.sources.content import Content
from kvsync.sources.sink import Intake
from kvsync.sources.status import SourceStatus
from kvsync.subscriber import Remembered, Subscriber, open_context

log = logging.getLogger(__name__)

CLAIM_S = 60.0
"""For how long what is remembered of a source waits for its pod to be listed: it takes memory."""

_WORST_FIRST = (State.BLIND, State.DEGRADED, State.CATCHING_UP, State.EXACT)

_KINDS: dict[type[Event], str] = {BlockStored: "stored", BlockRemoved: "removed", AllBlocksCleared: "cleared"}


class Endpoints(NamedTuple):
    """Where a publisher is followed."""

    live: str
    replay: str | None


class SubscriptionPlan(NamedTuple):
    """What a new list of pods calls for: first stop and forget, then start."""

    stop: tuple[Source, ...]
    start: Mapping[Source, Endpoints]


def plan(running: Mapping[Source, Endpoints], pods: Iterable[Pod]) -> SubscriptionPlan:
    """Compare the sources that are followed with the pods; a publisher at a new address is another one."""
    wanted = {
        source: Endpoints(pod.endpoint(source.rank), pod.replay_endpoint(source.rank))
        for pod in pods
        for source in pod.sources
    }
    return SubscriptionPlan(
        stop=tuple(source for source, where in running.items() if wanted.get(source) != where),
        start={source: where for source, where in wanted.items() if running.get(source) != where},
    )


@dataclass(slots=True, kw_only=True, eq=False)
class _Followed:
    where: Endpoints
    subscriber: Subscriber
    task: asyncio.Task[None] | None = None
    problem: str = ""

    @property
    def state(self) -> State:
        return State.BLIND if self.problem else self.subscriber.state

    @property
    def status(self) -> SourceStatus:
        status = self.subscriber.status
        if not self.problem:
            return status
        return replace(status, state=State.BLIND, reason=self.problem, connected=False)


class EventManager:
    """Keeps an index true to the pods of a discovery while `run` runs.

    `events` counts the events of a pod by kind, `applied` what they did by the label of the index, and
    `forgotten` how often all that was known of one of its sources was dropped; `changes` counts what changed
    the index. Without `subscribe` only the pods are known, and every source is BLIND.
    """

    def __init__(
        self,
        index: PrefixIndex,
        discovery: Discovery,
        options: SubscriberOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        subscribe: bool = True,
        wall_clock: Callable[[], float] = time.time,
        claim_s: float = CLAIM_S,
    ) -> None:
        self.pods: tuple[Pod, ...] = ()
        self.changes = 0
        self.events: Counter[tuple[str, str]] = Counter()
        self.applied: Counter[tuple[str, str]] = Counter()
        self.forgotten: Counter[str] = Counter()
        self.snapshots: Counter[str] = Counter()
        self._index = index
        self._discovery = discovery
        self._options = options or SubscriberOptions()
        self._clock = clock
        self._subscribe = subscribe
        self._wall_clock = wall_clock
        self._claim_s = claim_s
        self._remembered: dict[Source, SourceSnapshot] = {}
        self._followed: dict[Source, _Followed] = {}
        self._contents: defaultdict[Source, Content] = defaultdict(Content)
        self._ranks: dict[str, list[_Followed]] = {}

    async def run(self) -> None:
        """Follow pods and their events until cancelled; all sockets are then closed."""
        with open_context() as context:
            async with asyncio.TaskGroup() as group:
                async for pods in self._discovery.watch():
                    if self._remembered and not self._followed:
                        asyncio.get_running_loop().call_later(self._claim_s, self._drop_unclaimed)
                    self.pods = pods
                    if self._subscribe:
                        self._update(pods, group, context)
                await asyncio.Event().wait()

    @property
    def problem(self) -> str:
        """Why the list of pods may be out of date; empty: it is not."""
        return self._discovery.problem

    def statuses(self) -> tuple[SourceStatus, ...]:
        """What is known of every source that is followed."""
        return tuple(followed.status for followed in self._followed.values())

    def remember(self, snapshots: Mapping[Source, SourceSnapshot]) -> None:
        """Let sources that are followed from now on go on from snapshots, once their publishers prove them.

        `snapshots` of the manager counts what became of them: restored, thrown_away, unfit or unclaimed.
        """
        self._remembered = dict(snapshots)

    def progress(self) -> Mapping[Source, int]:
        """Return how many batches of each source were applied since it is followed."""
        return {source: followed.subscriber.batches for source, followed in self._followed.items()}

    def snapshot(self, source: Source) -> SourceSnapshot | None:
        """Copy what is known of a source; None: nothing that its publisher could prove later."""
        followed, held = self._followed.get(source), self._index.held(source)
        if followed is None or held is None or (memory := followed.subscriber.memory) is None:
            return None
        return SourceSnapshot(
            source=source,
            endpoint=followed.where.live,
            replay_endpoint=followed.where.replay,
            made_at=self._wall_clock(),
            hash_seed=self._index.seed,
            memory=memory,
            left_out=self._contents[source].kept,
            held=held,
        )

    def state(self, pod: str) -> State:
        """The worst state of a pod's ranks; BLIND for a pod that is not followed."""
        states = [followed.state for followed in self._ranks.get(pod, ())]
        return states[0] if len(states) == 1 else min(states, key=_WORST_FIRST.index, default=State.BLIND)

    def emptied(self, pod: str) -> int:
        """Return how often all that was known of one of a pod's sources was dropped."""
        return self.events[pod, "cleared"] + self.forgotten[pod]

    def removals(self, pod: str) -> int:
        """Return how often a pod announced that blocks were removed."""
        return self.events[pod, "removed"]

    def left_out(self, source: Source) -> Mapping[str, int]:
        """Return how many blocks the source holds that the index does not, by reason."""
        return self._contents[source].left_out

    def doubt(self, source: Source, by: str, reason: str) -> None:
        """Say why a source is not EXACT although its events came; `by` names who says so, "" ends it."""
        if followed := self._followed.get(source):
            followed.subscriber.doubt(by, reason)

    def apply(self, source: Source, batch: EventBatch) -> str:
        """Apply the next batch of a source; returns why not all that it announced is in the index."""
        content = self._contents[source]
        content.announced(source, batch.rank)
        self.changes += 1
        applied = self._index.apply_batch(source, batch.events)
        for event, effects in zip(batch.events, applied, strict=True):
            self.events[source.pod, _KINDS[type(event)]] += 1
            content.applied(event, effects)
            for label, count in effects.items():
                self.applied[source.pod, label] += count
        return content.flaw

    def take(self, source: Source, payloads: Sequence[bytes]) -> Intake | None:
        """Apply the next messages of a source from their bytes, up to the first that is not as most are.

        None: that is the first of all, to be given to `apply`.
        """
        content = self._contents[source]
        taken = self._index.apply_payloads(source, payloads) if content.is_whole else None
        if taken is None:
            return None
        messages, rank, stored, removed, *counts = taken
        self.changes += messages
        content.announced(source, rank)
        for kind, count in (("stored", stored), ("removed", removed)):
            if count:
                self.events[source.pod, kind] += count
        for label, count in zip(TAKEN, counts, strict=True):
            if count:
                self.applied[source.pod, label] += count
        return Intake(stored + removed, content.flaw, messages)

    def forget(self, source: Source, reason: str) -> None:
        """Drop everything known of a source."""
        self.changes += 1
        self.forgotten[source.pod] += 1
        self._contents.pop(source, None)
        if self._remembered.pop(source, None):
            self.snapshots["thrown_away"] += 1
        log.info("%s: %d blocks forgotten: %s", source, self._index.forget(source), reason)

    def _update(self, pods: tuple[Pod, ...], group: asyncio.TaskGroup, context: Context) -> None:
        stop, start = plan({source: followed.where for source, followed in self._followed.items()}, pods)
        for source in stop:
            if task := self._followed.pop(source).task:
                task.cancel()
            self.forget(source, "the pod is gone or elsewhere")
        for source, where in start.items():
            remembered = self._recall(source, where)
            followed = _Followed(where=where, subscriber=self._subscriber(source, where, context, remembered))
            followed.task = group.create_task(self._follow(source, followed, context), name=str(source))
            self._followed[source] = followed
        self._doubt_twins()
        self._ranks = defaultdict(list)
        for source, followed in self._followed.items():
            self._ranks[source.pod].append(followed)
        for counts in (self.events, self.applied):
            for gone in [key for key in counts if key[0] not in self._ranks]:
                del counts[gone]
        for pod in self.forgotten.keys() - self._ranks.keys():
            del self.forgotten[pod]

    def _doubt_twins(self) -> None:
        """Sources at one endpoint get the same events: all but one of them hold what they do not have."""
        places: dict[str, list[Source]] = defaultdict(list)
        for source, followed in self._followed.items():
            places[followed.where.live].append(source)
        for endpoint, sources in places.items():
            names = " and ".join(f"{source.pod} rank {source.rank}" for source in sources)
            for source in sources:
                said = f"{names} are at the same endpoint, {endpoint}: give each the port of its own engine"
                self.doubt(source, "endpoint", said if len(sources) > 1 else "")

    def _recall(self, source: Source, where: Endpoints) -> Remembered | None:
        """Return what is remembered of a source that is about to be followed, if it fits."""
        snapshot = self._remembered.get(source)
        if snapshot is None:
            return None
        if why := unfit(
            snapshot,
            endpoint=where.live,
            replay_endpoint=where.replay,
            hash_seed=self._index.seed,
            block_size=self._index.block_size,
        ):
            self.snapshots["unfit"] += 1
            log.warning("%s: its snapshot is not used: %s", source, why)
            del self._remembered[source]
            return None
        return Remembered(snapshot.memory, partial(self._restore, source))

    def _drop_unclaimed(self) -> None:
        for source in self._remembered.keys() - self._followed.keys():
            del self._remembered[source]
            self.snapshots["unclaimed"] += 1
            log.info("%s: its snapshot is not used: no such pod is listed", source)

    def _restore(self, source: Source) -> str:
        snapshot = self._remembered.pop(source)
        self.changes += 1
        self._index.restore(source, snapshot.held)
        content = self._contents[source] = Content(snapshot.left_out)
        self.snapshots["restored"] += 1
        log.info(
            "%s: %d blocks restored as of batch %d, %.0f s ago: the publisher repeated what was remembered",
            source,
            snapshot.blocks,
            snapshot.memory.last,
            self._wall_clock() - snapshot.made_at,
        )
        return content.flaw

    def _subscriber(
        self, source: Source, where: Endpoints, context: Context, remembered: Remembered | None = None
    ) -> Subscriber:
        return Subscriber(
            source,
            endpoint=where.live,
            replay_endpoint=where.replay,
            sink=self,
            take=self.take,
            options=self._options,
            clock=self._clock,
            context=context,
            remembered=remembered,
        )

    async def _follow(self, source: Source, followed: _Followed, context: Context) -> None:
        while True:
            try:
                await followed.subscriber.run()
            except Exception as error:  # of any kind: the other sources go on
                log.exception("%s: the subscriber failed, next try in %g s", source, self._options.retry_s)
                followed.problem = f"the subscriber failed: {error}"
                self.forget(source, followed.problem)
            await asyncio.sleep(self._options.retry_s)
            followed.subscriber, followed.problem = self._subscriber(source, followed.where, context), ""
            self._doubt_twins()
