"""Whether each pod answers, and what it says it serves; the probes are spread evenly over each interval.

A pod is healthy once it answered, and unhealthy after some failures in a row: one lost probe must not move
the traffic of a whole prefix. A pod that was never probed is not healthy yet; it is used when no other is.

A pod that computes may answer its probes late. While it sends bytes of answers it stays healthy. While it
only accepts connections it becomes unhealthy, so that new requests go elsewhere, but what it is working on is
not taken from it. It is gone when it refuses its probes, answers them with an error or accepts no connection.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from kvsync.access.peers import PeerClient, PeerError
from kvsync.config import HealthConfig
from kvsync.gateway.catalog import ModelCard, read_cards
from kvsync.pods import Pod

PROBES_WITHOUT_SLEEP = 60
"""Probes of an engine without /is_sleeping before it is asked again: vLLM has it in development mode."""

FIRST_PODS_S = 0.05
"""How often to look for pods while there are none: a gateway should be ready soon after its first pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is known about a pod.

    `failures` in a row, the last `refusals` of them by a pod that is not just late. `problem` is why its last
    probe failed or, of a healthy pod, why it is not known what it serves.
    """

    healthy: bool = False
    gone: bool = False
    failures: int = 0
    refusals: int = 0
    problem: str = "not probed yet"
    cards: tuple[ModelCard, ...] = ()
    asleep: bool = False


UNPROBED = Health()


@dataclass(frozen=True, slots=True)
class Answered:
    """A probe that was answered; `cards` is None when the pod's models could not be read: `problem`."""

    cards: tuple[ModelCard, ...] | None
    problem: str = ""
    asleep: bool = False


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A probe that failed; `late`: the pod did not answer in time, but accepts connections."""

    problem: str
    late: bool = False


def judge(before: Health, probe: Answered | Unanswered, *, failures: int, progress: bool = False) -> Health:
    """Return a pod's health after a probe; `failures` in a row make it unhealthy, `failures` refusals gone.

    `progress`: meanwhile the pod sent bytes of answers.
    """
    match probe:
        case Unanswered(problem=problem, late=True) if progress:
            said = f"{problem}, but its answers go on"
            return Health(healthy=True, problem=said, cards=before.cards, asleep=before.asleep)
        case Answered(cards=cards, problem=problem, asleep=asleep):
            known = before.cards if cards is None else cards
            return Health(healthy=True, problem=problem, cards=known, asleep=asleep)
        case Unanswered(problem=problem, late=late):
            count, refusals = before.failures + 1, 0 if late else before.refusals + 1
            return replace(
                before,
                healthy=before.healthy and count < failures,
                gone=refusals >= failures,
                failures=count,
                refusals=refusals,
                problem=problem,
            )


Watcher = Callable[[bool], None]

ProbedPod = tuple[str, str]
"""Name and URL of a pod: what is probed. Readiness and adapters may change without making it another pod."""


def _place(pod: Pod) -> ProbedPod:
    return pod.name, pod.url


class HealthMonitor:
    """Probes pods and remembers their health."""

    def __init__(
        self,
        client: PeerClient,
        pods: Callable[[], Sequence[Pod]],
        limits: HealthConfig,
        credentials: Mapping[str, str],
    ) -> None:
        self._credentials = credentials
        self._client = client
        self._pods = pods
        self._limits = limits
        self._known: dict[ProbedPod, Health] = {}
        self._heard_at: dict[ProbedPod, float] = {}
        self._watchers: dict[ProbedPod, list[Watcher]] = {}
        self._sleepless: dict[ProbedPod, int] = {}

    def of(self, pod: Pod) -> Health:
        """Return what is known about `pod`; a pod at another address is another pod."""
        return self._known.get((pod.name, pod.url), UNPROBED)

    def cards(self, pod: Pod) -> tuple[ModelCard, ...]:
        """Return what `pod` said it serves."""
        return self.of(pod).cards

    def heard_from(self, pod: Pod) -> None:
        """Note that bytes of an answer came from `pod`."""
        self._heard_at[_place(pod)] = time.monotonic()

    @contextmanager
    def watching(self, pod: Pod, notify: Watcher) -> Iterator[None]:
        """Within the block, call `notify`: True at each sign of life of `pod`, False once it is gone."""
        watchers = self._watchers.setdefault(_place(pod), [])
        watchers.append(notify)
        try:
            yield
        finally:
            watchers.remove(notify)
            if not watchers:
                self._watchers.pop(_place(pod), None)

    async def list_again(self) -> None:
        """Ask all pods what they serve now; a pod that does not say keeps what it said."""
        await asyncio.gather(*map(self._list_one_again, self._pods()))

    async def _list_one_again(self, pod: Pod) -> None:
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                cards, _ = await self._list(pod)
        except (TimeoutError, PeerError):
            return  # Whether the pod answers is for its probes to say.
        if cards is not None and _place(pod) in self._known:
            self._known[_place(pod)] = replace(self.of(pod), cards=cards)

    async def run(self) -> None:
        """Probe until cancelled. New pods are probed at once, known ones in turn, each once an interval."""
        async with asyncio.TaskGroup() as probes:
            while True:
                pods = self._pods()
                fresh = [pod for pod in pods if _place(pod) not in self._known]
                self._known = {_place(pod): self.of(pod) for pod in pods}
                self._heard_at = {place: at for place, at in self._heard_at.items() if place in self._known}
                self._sleepless = {place: self._sleepless.get(place, 0) for place in self._known}
                for pod in fresh:
                    probes.create_task(self._probe(pod))
                for pod in pods:
                    await asyncio.sleep(self._limits.interval_s / len(pods))
                    probes.create_task(self._probe(pod))
                if not pods:
                    await asyncio.sleep(FIRST_PODS_S)

    async def _probe(self, pod: Pod) -> None:
        began_at = time.monotonic()
        result = await self._ask(pod)
        before, place = self.of(pod), _place(pod)
        if place not in self._known:
            return
        progress = self._heard_at.get(place, -math.inf) >= began_at
        after = judge(before, result, failures=self._limits.failures, progress=progress)
        self._known[place] = after
        if not after.failures or (after.gone and not before.gone):
            for notify in self._watchers.get(place, ()):
                notify(not after.failures)

    async def _ask(self, pod: Pod) -> Answered | Unanswered:
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                alive = await self._client.ask("GET", f"{pod.url}/health")
                if not alive.is_success:
                    return Unanswered(f"/health answered {alive.status}")
                cards, problem = await self._list(pod)
                return Answered(cards, problem, asleep=await self._sleeps(pod))
        except TimeoutError:
            problem = f"no answer within {self._limits.timeout_s:g} s"
            return Unanswered(problem, late=await self._accepts(pod))
        except PeerError as exc:
            return Unanswered(f"{type(exc).__name__}: {exc}")

    async def _list(self, pod: Pod) -> tuple[tuple[ModelCard, ...] | None, str]:
        """Ask a pod what it serves; None, and why, when it does not say."""
        models = await self._client.ask("GET", f"{pod.url}/v1/models", headers=self._credentials)
        if not models.is_success:
            return None, _why_unknown(models.status)
        try:
            return read_cards(models.json()), ""
        except ValueError:
            return None, "/v1/models did not answer with JSON"

    async def _sleeps(self, pod: Pod) -> bool:
        """Ask whether an engine sleeps; one that does not know the question is seldom asked: vLLM logs it."""
        place = _place(pod)
        if self._sleepless.get(place, 0):
            self._sleepless[place] -= 1
            return False
        answer = await self._client.ask("GET", f"{pod.url}/is_sleeping", headers=self._credentials)
        if not answer.is_success:
            self._sleepless[place] = PROBES_WITHOUT_SLEEP
        return answer.is_success and b'"is_sleeping":true' in answer.content.replace(b" ", b"")

    async def _accepts(self, pod: Pod) -> bool:
        """Say whether there still is a host, with a process that listens."""
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(self._limits.timeout_s / 2):
                _, writer = await asyncio.open_connection(pod.host, pod.port)
                writer.close()
                return True
        return False


def _why_unknown(status: int) -> str:
    mend = "; set upstream.api_key to a key that it takes" if status in (401, 403) else ""
    return f"/v1/models answered {status}: its names and adapters are not known{mend}"
