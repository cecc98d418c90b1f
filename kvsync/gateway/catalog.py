"""Which pod serves which model: the names clients may use, and where each leads.

A pod serves its model under the name that discovery gave it and under every name its `/v1/models` lists
without a parent; names with a parent are LoRA adapters, as are those that discovery knows.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from kvsync.errors import UnknownName
from kvsync.pods import Pod


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


def cards_of(pod: Pod, cards: Cards) -> dict[str, ModelCard]:
    """Say what one pod serves, by name."""
    known = [ModelCard(id=pod.model), *(ModelCard(id=lora, parent=pod.model) for lora in pod.loras)]
    return {card.id: card for card in (*known, *cards(pod))}


def listing(pods: Sequence[Pod], cards: Cards) -> list[ModelCard]:
    """List every name that some pod serves, sorted; the first pod to name it describes it."""
    union: dict[str, ModelCard] = {}
    for pod in pods:
        union = cards_of(pod, cards) | union
    return sorted(union.values(), key=lambda card: card.id)


def resolve(name: str, pods: Sequence[Pod], cards: Cards) -> Target:
    """Find who serves `name`. Raises UnknownName, with the names that exist, when no pod serves it.

    A model of which no pod is ready has a target without pods. An adapter of two base models leads to the
    base model of the first pod that has it.
    """
    serving: list[tuple[Pod, str]] = []
    for pod in pods:
        card = cards_of(pod, cards).get(name)
        if card is not None:
            serving.append((pod, name if card.parent else ""))
    if not serving:
        raise UnknownName("model", name, [card.id for card in listing(pods, cards)])
    first, lora = serving[0]
    ready = tuple(pod for pod, its in serving if pod.ready and (pod.model, its) == (first.model, lora))
    return Target(model=first.model, lora=lora, pods=ready)


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
