"""Pods as a Kubernetes cluster has them: a list, then a watch that goes on from the list's version.

Rules
- When the API server ends a watch after `watch_s`, or its connection breaks, the next one goes on from the
  last version seen, and reports what happened in between. Bookmarks keep that version young while
  no pod changes.
- Whatever the API server refuses, 410 Gone among it, starts over with a list. A list takes the place of the
  pods in one step, so none vanishes meanwhile.
- While the API server is away the last pods stay, and `problem` says since when and why.
- Between attempts that fail lies a pause that doubles, with jitter. Only a 410 has its list at once, unless
  the version of that list is gone as well. Each attempt reads the credentials again: they may be renewed.

Reasons
- A connection that says nothing may be dead. Bookmarks come about once a minute, if at all, and cannot tell;
  that the watch should have ended by now does.
- What was refused once will be refused again, most of all a version; a list needs none.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime

from kvsync.config import KubernetesConfig
from kvsync.errors import ApiRefused, ApiUnreachable
from kvsync.kube.api import ALL, GONE, ApiServer, Watch, WatchedNamespace, connect
from kvsync.kube.pods import KubePod, PodChange, Reading, read_pod
from kvsync.pods import Pod
from kvsync.ratelimit import RateLimit

log = logging.getLogger(__name__)

_LOG_INTERVAL_S = 60.0
"""What lasts is mentioned again after a minute; `problem` shows it all the time."""


class KubernetesDiscovery:
    """The pods that a cluster labels as engines.

    The first snapshot comes with the first list, or without pods when that failed; `problem` then says why. A
    pod has its own name, or `namespace/name` if `qualified` or when all namespaces are followed.
    """

    def __init__(
        self,
        config: KubernetesConfig,
        *,
        qualified: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self.problem = "the API server has not answered yet"
        self._config = config
        self._qualified = qualified
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - no secret
        self._server: ApiServer | None = None
        self._place: WatchedNamespace | None = None
        self._version = ""
        self._watch: Watch | None = None
        self._watched_since = clock()
        self._heard_at = now()
        self._failures = 0
        self._forgotten = False
        self._pause_s = 0.0
        self._found: dict[str, Reading] = {}
        self._away = RateLimit(_LOG_INTERVAL_S, clock)
        self._wrong = RateLimit(_LOG_INTERVAL_S, clock)

    async def watch(self) -> AsyncIterator[tuple[Pod, ...]]:
        """All engines sorted by name, at the beginning and after each change."""
        shown: tuple[Pod, ...] | None = None
        try:
            while True:
                await self._advance()
                pods = tuple(pod for _, (pod, _) in sorted(self._found.items()) if pod)
                if pods != shown:
                    yield (shown := pods)
        finally:
            await self._disconnect()

    async def _advance(self) -> None:
        """Do the next of: connect and list, open a watch, read a change."""
        await self._sleep(self._pause_s)
        self._pause_s = 0.0
        try:
            server = self._server or await self._connect()
            if not self._version:
                await self._list(server)
            elif self._watch is None:
                await self._open(server)
            elif change := await self._watch.next():
                self._take(change)
            else:
                self._end(server)
        except (ApiUnreachable, ApiRefused) as error:
            await self._disconnect()
            self._fail(error)

    async def _connect(self) -> ApiServer:
        self._server = await connect(self._config)
        if self._server.place != self._place:  # the kubeconfig may name another cluster since
            self._place, self._version = self._server.place, ""
        return self._server

    async def _disconnect(self) -> None:
        server, self._server, self._watch = self._server, None, None
        if server:
            await server.close()

    async def _list(self, server: ApiServer) -> None:
        listed = await server.list()
        before, self._found = self._found, {}
        for pod in listed.items:
            self._add(pod, before)
        self._version = listed.metadata.version
        self._heard_at = self._now()

    async def _open(self, server: ApiServer) -> None:
        self._watch = await server.watch(self._version, self._config.watch_s)
        self._watched_since = self._clock()
        self._heard_at = self._now()
        if self.problem:
            log.info("%s: the pods are followed", server.place.url)
            self.problem = ""

    def _take(self, change: PodChange) -> None:
        match change.type:
            case "BOOKMARK":
                pass
            case "DELETED":
                self._found.pop(self._name(change.object), None)
            case _:
                self._add(change.object, self._found)
        self._version = change.object.metadata.version
        self._go_on()

    def _add(self, pod: KubePod, before: Mapping[str, Reading]) -> None:
        name = self._name(pod)
        known, found = before.get(name), read_pod(pod, name, self._config.defaults)
        self._found[name] = found
        if not found.problems or (known and known.problems == found.problems):
            return
        if (held_back := self._wrong.admit()) is not None:
            log.warning(
                "pod %s: %s (%d more such pods since the last such line)",
                name,
                "; ".join(found.problems),
                held_back,
            )

    def _name(self, pod: KubePod) -> str:
        own = pod.metadata.name
        is_qualified = self._qualified or (self._place and self._place.namespace == ALL)
        return f"{pod.metadata.namespace}/{own}" if is_qualified else own

    def _end(self, server: ApiServer) -> None:
        """The API server ended the watch: as it was asked to, or early, which is a failure."""
        self._watch = None
        if self._clock() - self._watched_since < self._config.watch_s / 2:
            raise ApiUnreachable(f"{server.place.url}: the watch was ended early")
        self._go_on()

    def _go_on(self) -> None:
        """A version was still valid: earlier failures are over."""
        self._failures, self._forgotten = 0, False
        self._heard_at = self._now()

    def _fail(self, error: ApiUnreachable | ApiRefused) -> None:
        """Keep the pods, note why, and wait before the next attempt."""
        if isinstance(error, ApiRefused):
            self._version = ""
            if error.code == GONE and not self._forgotten:
                self._forgotten = True
                return
        self._failures += 1
        self._pause_s = pause_s(self._config, self._failures, self._rng)
        self.problem = f"no news of pods since {self._heard_at:%Y-%m-%dT%H:%M:%SZ}: {error}"
        if self._away.admit() is not None:
            log.warning("the pods stay as they were: %s", self.problem)


def pause_s(config: KubernetesConfig, failures: int, rng: random.Random) -> float:
    """How long to wait after `failures` in a row: half to all of a pause that doubles up to the limit."""
    doubled = config.retry_s * 2.0 ** min(failures - 1, 30)
    return min(doubled, config.retry_max_s) * rng.uniform(0.5, 1)
