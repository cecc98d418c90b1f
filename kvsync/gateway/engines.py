"""What engines say of themselves at /metrics: how many data-parallel ranks they have, and how many blocks.

A pod whose engine has more ranks than its `dp_size` is followed in part only: its sources are doubted until
both agree. The number of blocks says how much of an engine's cache may be unknown while history is not
complete. An engine that says nothing (SGLang, or vLLM without statistics) is not doubted. Nor are adapters
that events name by numbers, as long as the engine's list of models tells their names.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import count

import httpx

from kvsync.events import Source
from kvsync.pods import Pod

TURNS, TURN_S = 5, 1.0
"""Each turn a fifth of the engines is asked: a page takes them milliseconds to make."""

TIMEOUT_S = 2.0

_CONFIG = re.compile(r"^vllm:cache_config_info\{(.*)\}", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"\\]*)"')

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
        client: httpx.AsyncClient,
        pods: Callable[[], Sequence[Pod]],
        doubt: Doubt,
        unnamed: Callable[[Pod], Sequence[int]] = lambda _: (),
    ) -> None:
        self._client = client
        self._pods = pods
        self._doubt = doubt
        self._unnamed = unnamed
        self._known: dict[str, Blocks] = {}

    def blocks(self, source: Source) -> int | None:
        """Return how many blocks of GPU memory the engine has for a rank; None: it did not say."""
        return self._known.get(source.pod, {}).get(source.rank) or None

    async def run(self) -> None:
        """Ask until cancelled, pods that are new at once."""
        for turn in count():
            pods = self._pods()
            self._known = {pod.name: self._known[pod.name] for pod in pods if pod.name in self._known}
            due = [
                pod
                for place, pod in enumerate(pods, turn)
                if pod.name not in self._known or not place % TURNS
            ]
            await asyncio.gather(*map(self._ask, due))
            await asyncio.sleep(TURN_S)

    async def _ask(self, pod: Pod) -> None:
        try:
            answer = await self._client.get(f"{pod.url}/metrics", timeout=TIMEOUT_S)
        except (httpx.HTTPError, httpx.InvalidURL):
            return  # Whether the pod answers is for the probes of its health to say.
        self._known[pod.name] = blocks = read_blocks(answer.text) if answer.is_success else {}
        for source in pod.sources:
            self._doubt(source, "adapters", unnamed_adapters(self._unnamed(pod)))
            self._doubt(source, "dp_size", missing_ranks(pod, blocks))
