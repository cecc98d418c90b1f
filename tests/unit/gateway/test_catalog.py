"""Which names lead to which pods."""

import pytest

from kvsync.errors import UnknownName
from kvsync.gateway.catalog import ModelCard, Target, listing, read_cards, resolve
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
    assert resolve(name, PODS, cards) == expected


def test_unknown_model_lists_what_there_is() -> None:
    """Asking for a name that nobody serves tells those that exist."""
    with pytest.raises(UnknownName) as caught:
        resolve("nope", PODS, cards)

    assert str(caught.value) == "unknown model 'nope'; valid: alias, base, gone, other, poet, sql"


def test_adapter_of_two_base_models_stays_with_one() -> None:
    """Pods of another base model are not candidates for an adapter of the same name."""
    both = (
        Pod(name="x", model="m1", host="h", loras=("l",)),
        Pod(name="y", model="m2", host="h", loras=("l",)),
    )

    assert resolve("l", both, lambda _: ()).pods == both[:1]


def test_listing_is_the_union() -> None:
    """Every name is listed once, described by the first pod that reported it."""
    assert [card.to_json()["id"] for card in listing(PODS, cards)] == [
        "alias",
        "base",
        "gone",
        "other",
        "poet",
        "sql",
    ]
    assert listing(PODS, cards)[1].to_json() == {
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
