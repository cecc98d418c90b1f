"""An indexer in another process, asked over a local socket.

Rules:

1. While it is away nothing is known: every source is BLIND, and requests go by load.
2. One that lets a question wait for too long is away: the connection is made anew, and nobody waits until the
   indexer has said hello.
3. Counts of another run begin after those of the last one, and losing the connection counts as a removal: a
   prediction that was made before is not judged by what is known afterwards.

Pods come from a discovery of the gateway's own, so that it serves as they come and go while the indexer is
away.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace

from kvsync.config import GatewayConfig
from kvsync.discovery import Discovery
from kvsync.errors import IndexerError
from kvsync.events import Source
from kvsync.index import PrefixIndex, Prompt
from kvsync.indexer import messages
from kvsync.indexer.link import IndexerLink, News, parts
from kvsync.indexer.local import discovery_of
from kvsync.indexer.values import UNKNOWN, Dump, Matches, Picture, Place, PodStanding, SharedLoad, SourceFacts
from kvsync.manager import EventManager
from kvsync.pods import Pod
from kvsync.ratelimit import RateLimit
from kvsync.sequence import Counters, State
from kvsync.sources.status import SourceStatus

log = logging.getLogger(__name__)

NOTHING = Matches({}, UNKNOWN)

RETRY_S = 0.05
"""Between two attempts to connect, which cost next to nothing."""

PICTURE_S = 0.5
"""How often the picture is brought up to date unasked, which also shows that the indexer answers."""

PICTURE_TIMEOUT_S = 2.0
"""It may be large, and is made while events are applied."""

NEWS_S = 0.01
"""How often others are told of loads that changed."""

LOG_INTERVAL_S = 10.0

START_S = 5.0
"""How long an indexer may take to start, which needs no word in the log."""

BLIND = PodStanding()


class RemoteIndexer:
    """Asks an indexer while `run` runs; `Indexer` says what.

    `counts` are of questions by how they ended; `restarts` says how often another run of it was found.
    """

    def __init__(
        self,
        config: GatewayConfig,
        address: str,
        discovery: Discovery | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.restarts = 0
        self.problem = f"{address}: not connected yet"
        self._address = address
        self._timeout_s = config.indexer.timeout_s
        self._listed = EventManager(PrefixIndex(), discovery or discovery_of(config), subscribe=False)
        self._link: IndexerLink | None = None
        self._run = ""
        self._standings: dict[str, PodStanding] = {}
        self._before: dict[str, PodStanding] = {}  # what earlier runs had counted
        self._picture = Picture(hash_seed=config.hash_seed)
        self._doubts: dict[Source, dict[str, str]] = defaultdict(dict)
        self._load: SharedLoad | None = None
        self._limit = RateLimit(LOG_INTERVAL_S, clock)
        self._clock = clock
        self._began = clock()
        self._missed = False  # and the log says so

    @property
    def pods(self) -> Sequence[Pod]:
        """All pods there are."""
        return self._listed.pods

    @property
    def discovery_problem(self) -> str:
        """Why the list of pods may be out of date."""
        return self._listed.problem

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listed.run())
            tasks.create_task(self._painting())
            tasks.create_task(self._sharing())
            while True:
                await self._connected()
                await asyncio.sleep(RETRY_S)

    async def save(self) -> None:
        """Do nothing: what is known outlives this process."""

    async def match(self, prompt: Prompt) -> Matches:
        """Return what each rank holds of a prompt; nothing if that is not known in time."""
        if (link := self._link) is None:
            self.counts["away"] += 1
            return NOTHING
        try:
            row = await link.ask("match", *messages.prompt_row(prompt), timeout_s=self._timeout_s)
        except IndexerError:
            self.counts["unanswered"] += 1
            self._leave(link)
            return NOTHING
        self.counts["answered"] += 1
        return messages.answer_of(row, self._run)

    def standing(self, pod: str) -> PodStanding:
        """Return how far what is known of a pod can be trusted."""
        its = self._standings.get(pod, BLIND)
        if its.state is State.EXACT and any(source.pod == pod for source in self._doubts):
            return its._replace(state=State.DEGRADED)
        return its

    def lora_ids(self, pod: Pod) -> Collection[int]:
        """Return the adapters that a pod's events name by numbers alone."""
        facts = self._picture.sources
        return {number for each in facts if each.status.source.pod == pod.name for number in each.lora_ids}

    def share(self, load: SharedLoad) -> None:
        """Tell others that share the indexer what runs, and learn what they run."""
        self._load = load

    def doubt(self, source: Source, by: str, reason: str) -> None:
        """Say why a source is not EXACT although its events came."""
        if reason:
            self._doubts[source][by] = reason
        elif doubts := self._doubts.get(source):
            doubts.pop(by, None)
            if not doubts:
                del self._doubts[source]

    def picture(self) -> Picture:
        """Return all that is known but the blocks, as of the last `refresh`."""
        known = {} if self.problem else {each.status.source: each for each in self._picture.sources}
        sources = [source for pod in self.pods for source in pod.sources]
        facts = [known.get(source) or self._unknown(source) for source in sources]
        return replace(self._picture, sources=tuple(map(self._doubted, facts)))

    async def refresh(self) -> None:
        """Bring the picture up to date."""
        if link := self._link:
            try:
                row = await link.ask("picture", timeout_s=PICTURE_TIMEOUT_S)
            except IndexerError:
                return
            self._picture = messages.picture_of(row)

    async def dump(self, source: Source) -> Dump | None:
        """Return all that is known of a source."""
        facts: SourceFacts | None = None
        blocks: dict[int, tuple[str, int]] = {}
        try:
            async for part in parts(self._address, "dump", *source):
                if facts is None:
                    facts = messages.facts_of(part)
                else:
                    blocks.update(part)
        except IndexerError:
            return None
        return None if facts is None else Dump(facts, blocks)

    async def snapshots(self) -> AsyncIterator[bytes]:
        """Give a snapshot of each source. Raises IndexerError when that ends early."""
        async for part in parts(self._address, "snapshots"):
            yield part

    async def _painting(self) -> None:
        while True:
            await asyncio.sleep(PICTURE_S)
            await self.refresh()

    async def _sharing(self) -> None:
        told: tuple[IndexerLink | None, Mapping[Place, int]] = None, {}
        while self._load:
            await asyncio.sleep(NEWS_S)
            now = self._link, self._load.counts()
            if self._link and now != told:
                self._link.tell("load", messages.load_rows(now[1]))
                told = now

    async def _connected(self) -> None:
        """Connect, and wait until the connection is lost."""
        try:
            link = await IndexerLink.open(self._address, self._news)
        except IndexerError as error:
            self.problem = str(error)
            if self._clock() - self._began > START_S:
                self._miss()
            return
        try:
            self._link = link
            await self.refresh()
            if self._link:
                self.problem, self._missed = "", False
                log.info("the indexer answers: what pods hold is known again")
            await link.lost()
        finally:
            self._leave(link)
            self._link = None
            link.end()

    def _leave(self, link: IndexerLink) -> None:
        """Know nothing any more as soon as the connection has ended."""
        if self._link is link and link.ended:
            self._link = None
            self._lose(link.ended)

    def _lose(self, why: str) -> None:
        self.problem = why
        if self._load:
            self._load.note_siblings({})
        self._before = {pod: its._replace(removals=its.removals + 1) for pod, its in self._before.items()}
        self._standings = {
            pod: its._replace(state=State.BLIND, removals=its.removals + 1)
            for pod, its in self._standings.items()
        }
        self._miss()

    def _miss(self) -> None:
        """Say so in the log, once."""
        if not self._missed and self._limit.admit() is not None:
            self._missed = True
            log.warning("the indexer does not answer, requests go by load until it does: %s", self.problem)

    def _news(self, kind: str, content: News) -> None:
        if kind == "standings":
            self._note(messages.standings_of(content))
            return
        if kind == "load":
            if self._load:
                self._load.note_siblings(messages.load_of(content))
            return
        _, run, standings = content
        if run != self._run:
            self._before = {
                pod: its._replace(emptied=its.emptied + 1, removals=its.removals + 1)
                for pod, its in self._standings.items()
            }
            self.restarts += bool(self._run)
            self._run = run
        self._note(messages.standings_of(standings))

    def _note(self, standings: Mapping[str, PodStanding | None]) -> None:
        for pod, its in standings.items():
            if its is None:
                self._standings.pop(pod, None)
                self._before.pop(pod, None)
                continue
            before = self._before.get(pod, BLIND)
            self._standings[pod] = PodStanding(
                its.state, before.emptied + its.emptied, before.removals + its.removals
            )

    def _unknown(self, source: Source) -> SourceFacts:
        status = SourceStatus(
            source=source,
            state=State.BLIND,
            reason=f"the indexer does not answer: {self.problem}" if self.problem else NOT_FOLLOWED,
            last=None,
            live=None,
            last_event_age_s=None,
            connected=False,
            counters=Counters(),
            errors={},
            batches=0,
            events=0,
        )
        return SourceFacts(status=status)

    def _doubted(self, facts: SourceFacts) -> SourceFacts:
        status = facts.status
        doubts = self._doubts.get(status.source)
        if not doubts or status.state not in (State.EXACT, State.DEGRADED):
            return facts
        reason = "; ".join(filter(None, [status.reason, *doubts.values()]))
        return replace(facts, status=replace(status, state=State.DEGRADED, reason=reason))


NOT_FOLLOWED = "the indexer does not follow it (yet): is its list of pods another one?"
