"""An indexer in this process: an event manager, its index, and snapshots of both."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from kvsync.access.certificates import EngineTrust
from kvsync.access.files import follow
from kvsync.access.peers import PeerClient
from kvsync.config import GatewayConfig
from kvsync.discovery import Discovery, FileDiscovery, StaticDiscovery
from kvsync.events import Source
from kvsync.index import Match, PrefixIndex, Prompt, lookup
from kvsync.indexer.values import Dump, Matches, Picture, PodStanding, SharedLoad, SourceFacts, Version
from kvsync.manager import EventManager
from kvsync.pods import Pod
from kvsync.snapshots.coding import encode
from kvsync.snapshots.keeper import SnapshotKeeper
from kvsync.sources.status import SourceStatus

RUN_BYTES = 8
"""Of the random name of a run."""


def discovery_of(config: GatewayConfig) -> Discovery:
    """Return where the configuration says that pods come from."""
    if config.kubernetes:
        from kvsync.kube.discovery import KubernetesDiscovery
        from kvsync.kube.several import SeveralNamespaces

        several = bool(config.kubernetes.namespaces)
        return SeveralNamespaces(config.kubernetes) if several else KubernetesDiscovery(config.kubernetes)
    return FileDiscovery(config.pods_file) if config.pods_file else StaticDiscovery(config.pods)


class LocalIndexer:
    """Answers from an index and its manager at once; `Indexer` says what."""

    problem = ""
    restarts = 0

    def __init__(self, index: PrefixIndex, manager: EventManager) -> None:
        self._index = index
        self._manager = manager
        self.counts: Counter[str] = Counter()
        self._run = secrets.token_hex(RUN_BYTES)

    @property
    def pods(self) -> Sequence[Pod]:
        """All pods there are."""
        return self._manager.pods

    @property
    def discovery_problem(self) -> str:
        """Why the list of pods may be out of date."""
        return self._manager.problem

    @property
    def version(self) -> Version:
        """Of which moment an answer would be now."""
        return Version(self._run, self._manager.changes)

    def look_up(self, prompt: Prompt) -> Matches:
        """Return what each rank holds of the beginning of a prompt. Raises ValueError for wrong token ids."""
        return Matches(lookup(self._index, prompt), self.version)

    def look_up_hashes(self, model: str, lora: str, hashes: Sequence[int], block_size: int) -> Matches:
        """Return what each rank of blocks of `block_size` tokens holds of a prompt, given by its own hashes;
        its length in tokens is not known, so the last of them may be computed again."""
        found = self._index.match_sources(model, lora, hashes, block_size=block_size)
        matched = {source: Match(n, block_size, n * block_size) for source, n in found.items()}
        return Matches(matched, self.version)

    async def match(self, prompt: Prompt) -> Matches:
        """Return what each rank holds of the beginning of a prompt."""
        self.counts["answered"] += 1
        return self.look_up(prompt)

    def standing(self, pod: str) -> PodStanding:
        """Return how far what is known of a pod can be trusted."""
        manager = self._manager
        return PodStanding(manager.state(pod), manager.emptied(pod), manager.removals(pod))

    def lora_ids(self, pod: Pod) -> Collection[int]:
        """Return the adapters that a pod's events name by numbers alone."""
        return self._index.lora_ids(*pod.sources)

    def share(self, load: SharedLoad) -> None:
        """Do nothing: nobody shares it."""

    def doubt(self, source: Source, by: str, reason: str) -> None:
        """Say why a source is not EXACT although its events came."""
        self._manager.doubt(source, by, reason)

    def picture(self) -> Picture:
        """Return all that is known but the blocks."""
        index, manager = self._index, self._manager
        return Picture(
            version=self.version,
            hash_seed=index.seed,
            sources=tuple(map(self._facts, manager.statuses())),
            blocks_total=index.blocks_total,
            bytes_estimated=index.bytes_estimated,
            holders=len(index.sources()),
            block_sizes={
                model: index.block_sizes(model) for model in {source.model for source in index.sources()}
            },
            events=manager.events,
            applied=manager.applied,
            snapshots=self._snapshot_counts(),
        )

    async def refresh(self) -> None:
        """Do nothing: the picture is made when it is asked for."""

    async def dump(self, source: Source) -> Dump | None:
        """Return all that is known of a source."""
        now = next((status for status in self._manager.statuses() if status.source == source), None)
        return None if now is None else Dump(self._facts(now), self._index.blocks(source))

    async def snapshots(self) -> AsyncIterator[bytes]:
        """Give a snapshot of each source."""
        for source in self._manager.progress():
            if snapshot := self._manager.snapshot(source):
                yield await asyncio.to_thread(encode, snapshot)

    def _snapshot_counts(self) -> Mapping[str, int]:
        return self._manager.snapshots

    def _facts(self, status: SourceStatus) -> SourceFacts:
        index, source = self._index, status.source
        return SourceFacts(
            status=status,
            blocks=index.size(source),
            block_size=index.block_size_of(source),
            orphans=index.orphans(source),
            left_out=self._manager.left_out(source),
            digest=index.digest(source),
            lora_ids=frozenset(index.lora_ids(source)),
        )


class FollowingIndexer(LocalIndexer):
    """One that follows events while `run` runs, goes on from snapshots, and writes them.

    Raises ConfigError when a file or folder that the configuration names cannot be used.
    """

    def __init__(self, config: GatewayConfig, discovery: Discovery | None = None) -> None:
        index = PrefixIndex(config.block_size, config.hash_seed)
        discovery = discovery or discovery_of(config)
        manager = EventManager(index, discovery, config.subscriber, subscribe=config.sync_enabled)
        super().__init__(index, manager)
        self._trust = EngineTrust(config.upstream.tls)
        self._siblings = PeerClient(self._trust.context)
        self._keeper = SnapshotKeeper(config.snapshots, manager, self._siblings)

    async def run(self) -> None:
        """Follow, and write what changes, until cancelled."""
        async with self._siblings, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._keeper.run())
            tasks.create_task(follow("upstream.tls", self._trust.files, self._trust.read))

    async def save(self) -> None:
        """Write what changed, before `run` is cancelled."""
        await self._keeper.save()

    async def _follow(self) -> None:
        self._manager.remember(await self._keeper.load())
        await self._manager.run()

    def _snapshot_counts(self) -> Mapping[str, int]:
        return self._manager.snapshots + self._keeper.counts
