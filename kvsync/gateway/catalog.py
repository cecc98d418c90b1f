"""Which pod serves which model: the names clients may use, and where each leads.

A pod serves its model under the name that discovery gave it and under every name its `/v1/models` lists
without a parent; names with a parent are LoRA adapters, as are those that discovery knows.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kvsync.errors import UnknownName
from kvsync.pods import Pod

ASK_AGAIN_S = 0.2
"""Between two times that all pods are asked for a name that none of them listed: names can be anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """One entry of `/v1/models`: a base model, or an adapter of its `parent`."""

    id: str
    parent: str | None = None
    max_model_len: int | None = None

    def to_json(self) -> dict[str, object]:
        """Write the card as OpenAI's model object with vLLM's additions."""
        return {
            "id": self.id,
            "object": "model",
            "created": 0,
            "owned_by": "kvsync",
            "root": self.id,
            "parent": self.parent,
            "max_model_len": self.max_model_len,
        }


Cards = Callable[[Pod], Sequence[ModelCard]]
"""What a pod said it serves when it was last asked; nothing when it never answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a name leads: the index's context (model, lora) and the ready pods that serve it."""

    model: str
    lora: str
    pods: tuple[Pod, ...]


class Catalog:
    """Who serves what; what a pod serves is put together only when the pod or what it said has changed.

    `ask_again` asks all pods what they serve now.
    """

    def __init__(
        self,
        pods: Callable[[], Sequence[Pod]],
        cards: Cards,
        ask_again: Callable[[], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pods = pods
        self._cards = cards
        self._ask_again = ask_again
        self._clock = clock
        self._served: dict[str, _Served] = {}
        self._asking = asyncio.Lock()
        self._asked = -math.inf

    def listing(self) -> list[ModelCard]:
        """List every name that some pod serves, sorted; the first pod to name it describes it."""
        union: dict[str, ModelCard] = {}
        for pod in self._pods():
            for card in self._of(pod).values():
                union.setdefault(card.id, card)
        return sorted(union.values(), key=lambda card: card.id)

    def only_model(self) -> str:
        """Return the model that all pods serve. Raises ValueError when there are several, or none."""
        models = {pod.model for pod in self._pods()}
        if len(models) != 1:
            raise ValueError("`model` must be the name of a model: not all pods serve the same one")
        return models.pop()

    def resolve(self, name: str) -> Target:
        """Find who serves `name`. Raises UnknownName, with the names that exist, when no pod serves it.

        A model of which no pod is ready has a target without pods. An adapter of two base models leads to the
        base model of the first pod that has it.
        """
        serving: list[tuple[Pod, str]] = []
        for pod in self._pods():
            card = self._of(pod).get(name)
            if card is not None:
                serving.append((pod, name if card.parent else ""))
        if not serving:
            raise UnknownName("model", name, [card.id for card in self.listing()])
        first, lora = serving[0]
        ready = tuple(pod for pod, its in serving if pod.ready and (pod.model, its) == (first.model, lora))
        return Target(model=first.model, lora=lora, pods=ready)

    async def find(self, name: str, *, forwards: bool = False) -> Target:
        """Find who serves `name`, asking the pods once more before it is called unknown.

        Raises UnknownName. If it `forwards`, the pods of the only base model may serve what they do not list.
        """
        try:
            return self.resolve(name)
        except UnknownName:
            await self._refresh()
        try:
            return self.resolve(name)
        except UnknownName:
            pods = self._pods()
            if not forwards or len({pod.model for pod in pods}) != 1:
                raise
            ready = tuple(pod for pod in pods if pod.ready)
            return Target(model=pods[0].model, lora=name, pods=ready)

    async def _refresh(self) -> None:
        """Let all pods be asked after this moment, however many wait for it, and not too often."""
        came = self._clock()
        async with self._asking:
            if self._ask_again is None or self._asked > came:
                return
            await asyncio.sleep(self._asked + ASK_AGAIN_S - came)
            self._asked = self._clock()
            await self._ask_again()

    def _of(self, pod: Pod) -> Mapping[str, ModelCard]:
        """Say what one pod serves, by name."""
        cards, known = self._cards(pod), self._served.get(pod.name)
        if known is None or known.pod is not pod or known.cards is not cards:
            own = [ModelCard(id=pod.model), *(ModelCard(id=lora, parent=pod.model) for lora in pod.loras)]
            known = _Served(pod, cards, {card.id: card for card in (*own, *cards)})
            there = {each.name for each in self._pods()}
            self._served = {name: its for name, its in self._served.items() if name in there}
            self._served[pod.name] = known
        return known.by_name


class _Served(NamedTuple):
    """What a pod serves, and what that was made of."""

    pod: Pod
    cards: Sequence[ModelCard]
    by_name: Mapping[str, ModelCard]


def adapter_numbers(cards: Sequence[ModelCard], seen: Collection[int]) -> dict[str, int]:
    """Return the numbers by which a pod's events name its adapters, by name; `seen` are those that they had.

    vLLM counts adapters from 1 as it loads them, and lists them in that order. Numbers beyond its list mean
    that it dropped some; then the order says nothing, and the answer is empty.
    """
    names = [card.id for card in cards if card.parent]
    if not seen or min(seen) < 1 or max(seen) > len(names):
        return {}
    return {name: number for number, name in enumerate(names, 1)}


def read_cards(answer: object) -> tuple[ModelCard, ...]:
    """Read the answer of `/v1/models`, leaving out what cannot be understood."""
    entries = answer.get("data") if isinstance(answer, dict) else None
    return tuple(
        ModelCard(
            id=entry["id"],
            parent=parent if isinstance(parent := entry.get("parent"), str) else None,
            max_model_len=length if isinstance(length := entry.get("max_model_len"), int) else None,
        )
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("id"), str)
    )
