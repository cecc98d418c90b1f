"""Which names lead to which pods."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Self

import pytest

from kvsync.errors import UnknownName
from kvsync.gateway.catalog import Catalog, ModelCard, Target, read_cards
from kvsync.pods import Pod

A = Pod(name="a", model="base", host="h1")
B = Pod(name="b", model="base", host="h2", loras=("sql",))
C = Pod(name="c", model="other", host="h3")
DOWN = Pod(name="d", model="gone", host="h4", ready=False)
PODS = (A, B, C, DOWN)

REPORTED = {
    "a": (
        ModelCard(id="base", max_model_len=4096),
        ModelCard(id="alias"),
        ModelCard(id="poet", parent="base"),
    ),
    "b": (),
    "c": (ModelCard(id="other"),),
    "d": (),
}


def cards(pod: Pod) -> tuple[ModelCard, ...]:
    """What a pod reported."""
    return REPORTED[pod.name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("base", Target(model="base", lora="", pods=(A, B)), id="model"),
        pytest.param("alias", Target(model="base", lora="", pods=(A,)), id="second-name-of-the-model"),
        pytest.param("poet", Target(model="base", lora="poet", pods=(A,)), id="adapter-a-pod-reported"),
        pytest.param("sql", Target(model="base", lora="sql", pods=(B,)), id="adapter-discovery-knows"),
        pytest.param("gone", Target(model="gone", lora="", pods=()), id="model-without-ready-pod"),
    ],
)
def test_resolve(name: str, expected: Target) -> None:
    """A name leads to the context of the index and to the ready pods that serve it."""
    assert Catalog(lambda: PODS, cards).resolve(name) == expected


def test_unknown_model_lists_what_there_is() -> None:
    """Asking for a name that is not served tells those that exist."""
    with pytest.raises(UnknownName) as caught:
        Catalog(lambda: PODS, cards).resolve("nope")

    assert str(caught.value) == "unknown model 'nope'; valid: alias, base, gone, other, poet, sql"


def test_adapter_of_two_base_models_stays_with_one() -> None:
    """Pods of another base model are not candidates for an adapter of the same name."""
    both = (
        Pod(name="x", model="m1", host="h", loras=("l",)),
        Pod(name="y", model="m2", host="h", loras=("l",)),
    )

    assert Catalog(lambda: both, lambda _: ()).resolve("l").pods == both[:1]


def test_what_a_pod_serves_is_put_together_once() -> None:
    """Requests in between look names up; what a pod says anew counts at once."""
    said = Counting(ModelCard(id="base"), ModelCard(id="poet", parent="base"))
    catalog = Catalog(lambda: (A,), lambda _: said.cards)

    for _ in range(9):
        assert catalog.resolve("poet").lora == "poet"
    assert said.reads == 1

    said.cards = Counting(ModelCard(id="sql", parent="base")).cards
    assert catalog.resolve("sql").lora == "sql"
    with pytest.raises(UnknownName):
        catalog.resolve("poet")


class Counting:
    """Cards that count how often they are gone through."""

    def __init__(self, *cards: ModelCard) -> None:
        self.reads = 0
        self.cards: Sequence[ModelCard] = _Counted(self, cards)


class _Counted(tuple[ModelCard, ...]):
    def __new__(cls, _: Counting, cards: Sequence[ModelCard]) -> Self:
        return super().__new__(cls, cards)

    def __init__(self, counting: Counting, _: Sequence[ModelCard]) -> None:
        self._counting = counting

    def __iter__(self) -> Iterator[ModelCard]:
        self._counting.reads += 1
        return super().__iter__()


async def test_pods_are_asked_before_a_name_is_unknown() -> None:
    """All that wait for the same answer share it; a name that is still unknown may be left to the pods."""
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1

    catalog = Catalog(lambda: (A, B), lambda _: (), ask)
    answers = await asyncio.gather(*(catalog.find("new") for _ in range(9)), return_exceptions=True)

    assert {type(answer) for answer in answers} == {UnknownName}
    assert asked <= 2
    assert await catalog.find("new", forwards=True) == Target(model="base", lora="new", pods=(A, B))
    with pytest.raises(UnknownName):
        await Catalog(lambda: (A, C), lambda _: ()).find("new", forwards=True)


def test_listing_is_the_union() -> None:
    """Every name is listed once, described by the first pod that reported it."""
    assert [card.to_json()["id"] for card in Catalog(lambda: PODS, cards).listing()] == [
        "alias",
        "base",
        "gone",
        "other",
        "poet",
        "sql",
    ]
    assert Catalog(lambda: PODS, cards).listing()[1].to_json() == {
        "id": "base",
        "object": "model",
        "created": 0,
        "owned_by": "kvsync",
        "root": "base",
        "parent": None,
        "max_model_len": 4096,
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(
            {"data": [{"id": "m", "max_model_len": 10}, {"id": "l", "parent": "m", "root": "/path"}]},
            (ModelCard(id="m", max_model_len=10), ModelCard(id="l", parent="m")),
            id="base-and-adapter",
        ),
        pytest.param({"data": [{"name": "m"}, 7, {"id": 3}]}, (), id="entries-without-a-name"),
        pytest.param({"data": "m"}, (), id="no-list"),
        pytest.param({}, (), id="nothing"),
        pytest.param([], (), id="not-an-object"),
    ],
)
def test_read_cards(answer: object, expected: tuple[ModelCard, ...]) -> None:
    """Whatever a pod answers about its models, what can be understood is kept."""
    assert read_cards(answer) == expected
