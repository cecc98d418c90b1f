"""Writes down what is known of sources, now and then, and reads it at the start.

Rules:

1. Only sources of which events came since their last snapshot are written again, one after the other.
2. What is copied is of one moment; encoding and writing happen in a thread, so that requests go on.
3. A snapshot that cannot be read or written is one line in the log and one count. The gateway goes on
   without.
4. The file of a source that is no longer followed is removed. Those of sources that this process never
   followed stay until they are too old: their pods may not be listed yet.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from kvsync.access.peers import PeerClient
from kvsync.errors import SnapshotError
from kvsync.events import Source
from kvsync.settings.operation import SnapshotsConfig
from kvsync.snapshots.folder import SnapshotFolder
from kvsync.snapshots.peer import take
from kvsync.snapshots.snapshot import SourceSnapshot, is_newer

log = logging.getLogger(__name__)

RETRY_S = 0.1
"""Wait before another gateway that gave no answer is asked again."""


class Followed(Protocol):
    """Who knows the sources."""

    def progress(self) -> Mapping[Source, int]:
        """Return how many batches of each source were applied."""

    def snapshot(self, source: Source) -> SourceSnapshot | None:
        """Copy what is known of a source; None: nothing that could be proved later."""


class SnapshotKeeper:
    """Keeps the snapshots of one gateway. Raises ConfigError for a folder that cannot be written to.

    `counts` are of snapshots by what became of them: read, unreadable, written, unwritten, and taken from
    another gateway; not_taken is 1 when that did not give all of its own.
    """

    def __init__(
        self,
        config: SnapshotsConfig,
        followed: Followed,
        client: PeerClient,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._config = config
        self._followed = followed
        self._client = client
        self._clock = clock
        self._folder = SnapshotFolder(config.folder) if config.folder else None
        self._began = clock()
        self._written: dict[Source, tuple[int, float]] = {}  # batches by then, and when

    async def load(self) -> dict[Source, SourceSnapshot]:
        """Read what there is: what the folder has, and what another gateway gives."""
        found = await asyncio.to_thread(self._stored) if self._folder else {}
        if url := self._config.take_from:
            taken = await self._taken(url)
            found.update((each.source, each) for each in taken if is_newer(each, found.get(each.source)))
        if found:
            log.info("%d snapshots, which their publishers have to prove", len(found))
        return found

    async def _taken(self, url: str) -> list[SourceSnapshot]:
        """Ask another gateway until it answers, and use what came of its answer in time.

        In its first seconds a new pod may not reach the cluster's DNS, nor a Service its endpoints.
        """
        taken, problem = dict[Source, SourceSnapshot](), ""
        try:
            async with asyncio.timeout(self._config.take_s):
                while True:
                    try:
                        async for snapshot in take(self._client, url, self._config.credentials):
                            taken[snapshot.source] = snapshot
                        break
                    except SnapshotError as error:
                        problem = str(error)
                    await asyncio.sleep(RETRY_S)
        except TimeoutError:
            self.counts["not_taken"] += 1
            why = problem or f"{url} took longer"
            wanted = "not all that another gateway knows is taken over within snapshots.take_s"
            log.warning("%s (%g s): %s", wanted, self._config.take_s, why)
        self.counts["taken"] += len(taken)
        return [*taken.values()]

    async def run(self) -> None:
        """Write what changed, until cancelled."""
        while self._folder:
            await asyncio.sleep(self._config.interval_s)
            await self.save()

    async def save(self) -> None:
        """Write what changed since it was last written."""
        if not self._folder:
            return
        progress = self._followed.progress()
        for source, batches in progress.items():
            if self._is_due(source, batches):
                await self._write(self._folder, source, batches)
        for gone in self._written.keys() - progress.keys():
            del self._written[gone]
            self._folder.remove(gone)

    def _is_due(self, source: Source, batches: int) -> bool:
        """Whether a snapshot differs from the one in the folder, or that gets too old."""
        before, at = self._written.get(source, (0, self._began))
        return batches != before or self._clock() - at > self._config.max_age_s / 2

    async def _write(self, folder: SnapshotFolder, source: Source, batches: int) -> None:
        snapshot = self._followed.snapshot(source)
        if snapshot is None:
            return
        try:
            await asyncio.to_thread(folder.write, snapshot)
        except (OSError, SnapshotError) as error:
            self.counts["unwritten"] += 1
            log.warning("%s: its snapshot is not written: %s", source, error)
            return
        self.counts["written"] += 1
        self._written[source] = batches, self._clock()

    def _stored(self) -> dict[Source, SourceSnapshot]:
        assert self._folder
        found = {}
        for each in self._folder.read(not_before=self._clock() - self._config.max_age_s):
            if isinstance(each, SnapshotError):
                self._refuse(each)
            else:
                self.counts["read"] += 1
                found[each.source] = each
        return found

    def _refuse(self, problem: SnapshotError) -> None:
        self.counts["unreadable"] += 1
        log.warning("a snapshot is not used: %s", problem)
