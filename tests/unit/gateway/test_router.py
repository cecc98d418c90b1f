"""From tokens to the order in which pods are asked."""

import random

import pytest

from kvsync.config import GatewayConfig
from kvsync.discovery import StaticDiscovery
from kvsync.events import BlockStored, Source
from kvsync.gateway.catalog import Catalog, ModelCard, Target
from kvsync.gateway.load import RunningRequests
from kvsync.gateway.router import Route, Router, percent_bucket
from kvsync.index import PrefixIndex
from kvsync.indexer.local import LocalIndexer
from kvsync.manager import EventManager
from kvsync.pods import Pod
from kvsync.routing import Selection
from kvsync.sequence import State

A, B, C = (Pod(name=name, model="m", host=f"10.0.0.{n}") for n, name in enumerate("abc"))
TARGET = Target(model="m", lora="", pods=(A, B, C))


def holding(**tokens: list[int]) -> PrefixIndex:
    """An index in which each pod holds blocks of 4 tokens."""
    index = PrefixIndex(4)
    for pod, held in tokens.items():
        index.apply(Source(pod, "m"), stored(held))
    return index


def stored(held: list[int]) -> BlockStored:
    """The event of blocks of 4 tokens from the root on."""
    hashes = tuple(range(len(held) // 4))
    return BlockStored(
        block_hashes=hashes,
        parent_block_hash=None,
        token_ids=tuple(held),
        block_size=4,
        extra_keys=(None,) * len(hashes),
    )


def indexer(index: PrefixIndex) -> LocalIndexer:
    """What answers from an index."""
    return LocalIndexer(index, EventManager(index, StaticDiscovery(())))


def router(
    index: PrefixIndex,
    healthy: tuple[Pod, ...],
    load: RunningRequests | None = None,
    cards: tuple[ModelCard, ...] = (),
    sync_enabled: bool = True,
) -> Router:
    """A router; every source is EXACT, and every pod lists `cards`."""
    config = GatewayConfig.model_validate(
        {"pods": [A, B, C], "sync_enabled": sync_enabled, "routing": {"least_prefix_tokens": 1}}
    )
    return Router(
        config,
        indexer(index),
        catalog=Catalog(lambda: (A, B, C), lambda _: cards),
        state=lambda _: State.EXACT,
        cards=lambda _: cards,
        healthy=lambda pod: pod in healthy,
        load=load or RunningRequests(),
        rng=random.Random(0),
    )


def order(route: Route) -> list[tuple[str, int]]:
    """The pods to ask, with how many blocks each holds."""
    return [(choice.pod, choice.matched_blocks) for choice in route.choices]


async def test_longest_prefix_first() -> None:
    """Pods are ranked by how much of the prompt they hold."""
    index = holding(a=[1, 2, 3, 4], b=[1, 2, 3, 4, 5, 6, 7, 8])

    route = await router(index, (A, B, C)).route(TARGET, [1, 2, 3, 4, 5, 6, 7, 8, 9], None)

    assert order(route) == [("b", 2), ("a", 1), ("c", 0)]
    assert [route.match_percent(choice) for choice in route.choices] == ["76-100", "26-50", "0"]


async def test_unhealthy_pods_come_last_whatever_they_hold() -> None:
    """A pod that fails its probes is asked after all others."""
    index = holding(a=[1, 2, 3, 4], b=[1, 2, 3, 4, 5, 6, 7, 8])

    route = await router(index, (C, A)).route(TARGET, [1, 2, 3, 4, 5, 6, 7, 8], None)

    assert order(route) == [("a", 1), ("c", 0), ("b", 2)]


async def test_the_rank_that_holds_the_prefix_is_asked_for() -> None:
    """Each rank is matched by itself, counted from the pod's first; a pod is asked once only."""
    index, both = holding(), Pod(name="d", model="m", host="10.0.0.9", dp_rank=2, dp_size=2)
    for rank, held in ((2, [1, 2, 3, 4]), (3, [1, 2, 3, 4, 5, 6, 7, 8])):
        index.apply(Source("d", "m", rank), stored(held))

    route = await router(index, (both, A)).route(
        Target(model="m", lora="", pods=(both, A)), [1, 2, 3, 4, 5, 6, 7, 8, 9], None
    )

    assert [(each.pod, each.rank, each.cached_tokens) for each in route.choices] == [
        ("d", 1, 8),
        ("a", None, 0),
    ]


async def test_ranks_without_a_prefix_take_turns() -> None:
    """The load of each rank counts for itself; without events the engine chooses."""
    pod, load = Pod(name="d", model="m", host="10.0.0.9", dp_size=2), RunningRequests()
    target = Target(model="m", lora="", pods=(pod,))
    with load.running("d", 0):
        followed = await router(holding(), (pod,), load).route(target, None, None)
        unknown = await router(holding(), (pod,), load, sync_enabled=False).route(target, None, None)

    assert [each.rank for each in (*followed.choices, *unknown.choices)] == [1, None]


async def test_no_pod_no_choice() -> None:
    """A model without ready pods has no choices."""
    assert order(await router(holding(), ()).route(Target(model="m", lora="", pods=()), [1], None)) == []


@pytest.mark.parametrize(
    ("sync", "tokens", "salt"),
    [
        pytest.param(False, [1, 2, 3, 4], None, id="sync-off"),
        pytest.param(True, None, None, id="tokens-not-known"),
        pytest.param(True, [1, 2, 3], None, id="no-full-block"),
        pytest.param(True, [1, 2, 3, 4], "salt", id="other-salt"),
    ],
)
async def test_without_a_prefix_the_least_loaded_comes_first(
    sync: bool, tokens: list[int] | None, salt: str | None
) -> None:
    """Where no prefix can match, the pods' load alone decides."""
    load = RunningRequests()
    with load.running("a"), load.running("b"), load.running("b"):
        index = holding(a=[1, 2, 3, 4])
        route = await router(index, (A, B, C), load, sync_enabled=sync).route(TARGET, tokens, salt)

    assert order(route) == [("c", 0), ("a", 0), ("b", 0)]
    assert route.choices[0].selection is Selection.LEAST_REQUEST


def test_tokenizers_are_healthy_and_idle_ones_first() -> None:
    """Prompts are tokenized by the pod with least to do among those that answer."""
    load = RunningRequests()
    with load.running("a"):
        urls = router(holding(), (A, B), load).tokenizers(TARGET)

    assert urls == [B.url, A.url, C.url]


@pytest.mark.parametrize(
    ("tokens", "held", "expected"),
    [
        pytest.param(16, 16, 12, id="whole-prompt-held"),
        pytest.param(17, 16, 16, id="one-token-more"),
        pytest.param(16, 8, 8, id="part"),
        pytest.param(4, 4, 0, id="one-block"),
        pytest.param(0, 0, 0, id="not-known"),
    ],
)
async def test_predicted_cached_tokens(tokens: int, held: int, expected: int) -> None:
    """An engine computes the last token at least, and with it the last block."""
    route = await router(holding(a=list(range(held))), (A, B, C)).route(TARGET, list(range(tokens)), None)

    assert route.predicted_cached_tokens(route.choices[0]) == expected


@pytest.mark.parametrize(
    ("seen", "listed", "matched"),
    [
        pytest.param(2, ("red", "blue"), {"a": 1}, id="second"),
        pytest.param(1, ("red", "blue"), {}, id="another"),
        pytest.param(3, ("red", "blue"), {}, id="beyond-the-list"),
        pytest.param(0, ("red", "blue"), {}, id="below-the-list"),
        pytest.param(2, (), {}, id="none-listed"),
    ],
)
async def test_adapters_that_events_number_are_those_that_the_engine_lists(
    seen: int, listed: tuple[str, ...], matched: dict[str, int]
) -> None:
    """Without names in its events, a pod's adapters are counted from 1 in the order of its own list."""
    index = PrefixIndex()
    index.apply(
        Source("a", "m"),
        BlockStored(
            block_hashes=(1,), parent_block_hash=None, token_ids=(1, 2, 3, 4), block_size=4, lora_id=seen
        ),
    )
    cards = (ModelCard(id="m"), *(ModelCard(id=name, parent="m") for name in listed))
    target = Target(model="m", lora="blue", pods=(A, B))

    found = await router(index, (A, B), cards=cards).match(target, [1, 2, 3, 4, 5], None)

    assert {source.pod: match.blocks for source, match in found.matched.items()} == matched


@pytest.mark.parametrize(
    ("matched", "blocks", "label"),
    [
        (0, 0, "0"),
        (0, 8, "0"),
        (1, 1000, "1-25"),
        (2, 8, "1-25"),
        (3, 8, "26-50"),
        (4, 8, "26-50"),
        (6, 8, "51-75"),
        (7, 8, "76-100"),
        (8, 8, "76-100"),
    ],
)
def test_percent_bucket(matched: int, blocks: int, label: str) -> None:
    """How much of a prompt is held becomes one of five labels."""
    assert percent_bucket(matched, blocks) == label


def test_load_is_restored_however_a_request_ends() -> None:
    """A request counts while it runs, also when it ends with an error."""
    load = RunningRequests()
    with load.running("a"):
        assert load.of("a") == 1
        with pytest.raises(KeyError), load.running("a"):
            raise KeyError
        assert load.of("a") == 1

    assert load.of("a") == 0


async def places(policy: str, *, share: float = 0.0, requests: int = 300) -> list[str]:
    """Return where requests go whose prefix B holds, while C has something to do."""
    load = RunningRequests()
    config = GatewayConfig.model_validate(
        {
            "pods": [A, B, C],
            "routing": {
                "policy": policy,
                "compared_policy": "random",
                "compared_share": share,
                "least_prefix_tokens": 0,
            },
        }
    )
    ranks = Router(
        config,
        indexer(holding(b=[1, 2, 3, 4])),
        catalog=Catalog(lambda: (A, B, C), lambda _: ()),
        state=lambda _: State.EXACT,
        cards=lambda _: (),
        healthy=lambda _: True,
        load=load,
        rng=random.Random(0),
    )
    with load.running("c"):
        routes = [await ranks.route(TARGET, [1, 2, 3, 4, 5], None) for _ in range(requests)]
    assert {len(route.choices) for route in routes} == {3}
    assert {route.policy for route in routes} == ({policy, "random"} if share else {policy})
    firsts = [route.choices[0] for route in routes]
    assert all(first.cached_tokens == (4 if first.pod == "b" else 0) for first in firsts)
    return [first.pod for first in firsts]


async def test_policies_that_look_at_no_prefix_can_be_compared_with() -> None:
    """By prefix, by load, in turn and by chance; what is held is predicted all the same."""
    assert set(await places("prefix")) == {"b"}
    assert await places("round_robin", requests=6) == ["b", "c", "a", "b", "c", "a"]
    by_load, by_chance = await places("least_request"), await places("random")
    assert (by_load.count("c"), 100 < by_load.count("a") < 200) == (0, True)
    assert all(60 < by_chance.count(pod) < 140 for pod in "abc")


async def test_a_share_of_the_requests_is_routed_by_another_policy() -> None:
    """A quarter of the requests goes where chance will have it, and a third of those to each pod."""
    went = await places("prefix", share=0.25)

    assert 25 < went.count("a") + went.count("c") < 75
