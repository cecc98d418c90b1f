"""What engines say of themselves at /metrics: how many data-parallel ranks they have, and how many blocks.

A pod whose engine has more ranks than its `dp_size` is followed in part only: its sources are doubted until
both agree. The number of blocks says how much of an engine's cache may be unknown while history is not
complete. An engine that says nothing (SGLang, or vLLM without statistics) is not doubted. Nor are adapters
that events name by numbers, as long as the engine's list of models tells their names.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from kvsync.access.peers import PeerClient, PeerError
from kvsync.events import Source
from kvsync.gateway.load import RunningRequests
from kvsync.pods import Pod

TURNS, TURN_S = 5, 1.0
"""Each turn a fifth of the engines is asked: a page takes them milliseconds to make. All of them are where
their load is wanted, as often as that is set."""

TIMEOUT_S = 2.0

FRESH_TURNS = 3
"""For so many turns an engine's load is believed: one that answers late is not taken for idle at once."""

_CONFIG = re.compile(r"^vllm:cache_config_info\{(.*)\}", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"\\]*)"')

_REQUESTS = re.compile(
    r"^(vllm:num_requests_running|vllm:num_requests_waiting|sglang:num_running_reqs|sglang:num_queue_reqs)"
    r"(?:\{(.*)\})? ([0-9.e+]+)$",
    re.MULTILINE,
)

_RANK_LABELS = ("engine", "dp_rank")
"""By these vLLM and SGLang tell their ranks apart."""

Blocks = Mapping[int, int]
"""Blocks of GPU memory by rank; 0 where the engine does not say how many."""

Doubt = Callable[[Source, str, str], None]
"""Says of a source, by whom, why it is not exact; an empty reason ends it."""


def read_blocks(page: str) -> dict[int, int]:
    """Return the blocks of each rank that a /metrics page of vLLM names.

    The page has a line for each rank, all with the number of blocks of all ranks together (vLLM 0.32).
    """
    blocks: dict[int, int] = {}
    for labels in _CONFIG.findall(page):
        values = dict(_LABEL.findall(labels))
        rank, known = values.get("engine", "0"), values.get("num_gpu_blocks", "")
        if rank.isdecimal():
            blocks[int(rank)] = int(known) if known.isdecimal() else 0
    return {rank: together // len(blocks) for rank, together in blocks.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequests:
    """How many requests an engine has, by rank."""

    running: Mapping[int, int]
    waiting: Mapping[int, int]

    @property
    def together(self) -> Mapping[int, int]:
        """Both, by rank."""
        ranks = self.running.keys() | self.waiting.keys()
        return {rank: self.running.get(rank, 0) + self.waiting.get(rank, 0) for rank in ranks}


def read_requests(page: str) -> EngineRequests | None:
    """Return what a /metrics page of vLLM or SGLang says of its requests; None: nothing."""
    running, waiting = Counter[int](), Counter[int]()
    for name, labels, number in _REQUESTS.findall(page):
        values = dict(_LABEL.findall(labels))
        rank = next((values[label] for label in _RANK_LABELS if label in values), "0")
        if rank.isdecimal():
            which = running if "running" in name else waiting
            which[int(rank)] += int(float(number))
    return EngineRequests(running=running, waiting=waiting) if running or waiting else None


def missing_ranks(pod: Pod, blocks: Blocks) -> str:
    """Say why a pod is followed in part only, and what to do; empty: it is not."""
    if len(blocks) <= pod.dp_size:
        return ""
    return f"the engine has {len(blocks)} data-parallel ranks, dp_size is {pod.dp_size}: set it to that"


def unnamed_adapters(numbers: Sequence[int]) -> str:
    """Say what is not known of adapters that events name by these numbers alone; empty: nothing."""
    if not numbers:
        return ""
    named = ", ".join(map(str, numbers))
    return (
        f"events name adapters by number ({named}) and the engine's list does not tell which they are: their"
        " blocks match no request; vLLM sends names from 0.14 on"
    )


class Engines:
    """Asks each pod's engine now and then, and remembers what it said."""

    def __init__(
        self,
        client: PeerClient,
        pods: Callable[[], Sequence[Pod]],
        doubt: Doubt,
        unnamed: Callable[[Pod], Sequence[int]] = lambda _: (),
        load: RunningRequests | None = None,
        load_s: float = 0.0,
    ) -> None:
        self._client = client
        self._pods = pods
        self._doubt = doubt
        self._unnamed = unnamed
        self._load = load or RunningRequests()
        self._turns, self._turn_s = (1, load_s) if load_s else (TURNS, TURN_S)
        self._known: dict[str, Blocks] = {}
        self._requests: dict[str, EngineRequests] = {}

    def blocks(self, source: Source) -> int | None:
        """Return how many blocks of GPU memory the engine has for a rank; None: it did not say."""
        return self._known.get(source.pod, {}).get(source.rank) or None

    def requests(self, pod: Pod) -> EngineRequests | None:
        """Return how many requests the engine said it has, seconds ago at most; None: it did not say."""
        return self._requests.get(pod.name)

    async def run(self) -> None:
        """Ask until cancelled, pods that are new at once."""
        for turn in count():
            pods = self._pods()
            self._known = {pod.name: self._known[pod.name] for pod in pods if pod.name in self._known}
            due = [
                pod
                for place, pod in enumerate(pods, turn)
                if pod.name not in self._known or not place % self._turns
            ]
            await asyncio.gather(*map(self._ask, due))
            self._load.keep({pod.name for pod in pods})
            await asyncio.sleep(self._turn_s)

    async def _ask(self, pod: Pod) -> None:
        try:
            answer = await self._client.ask("GET", f"{pod.url}/metrics", timeout_s=TIMEOUT_S)
        except (PeerError, TimeoutError):
            self._requests.pop(pod.name, None)
            return  # Whether the pod answers is for the probes of its health to say.
        self._known[pod.name] = blocks = read_blocks(answer.text) if answer.is_success else {}
        if requests := read_requests(answer.text):
            self._requests[pod.name] = requests
            self._load.reported(pod.name, requests.together)
        for source in pod.sources:
            self._doubt(source, "adapters", unnamed_adapters(self._unnamed(pod)))
            self._doubt(source, "dp_size", missing_ranks(pod, blocks))
