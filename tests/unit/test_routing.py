"""Choosing a pod: cached prefixes against load, and what the choice says of itself."""

import random

import pytest

from kvsync.errors import NoPodReady
from kvsync.routing import Candidate, Choice, Policy, Selection, choose, rank
from kvsync.sequence import State

POLICY = Policy()


def pods(*facts: tuple[int, int]) -> list[Candidate]:
    """Return candidates a, b, c ... from pairs of matched blocks and running requests."""
    return [
        Candidate(pod=chr(ord("a") + i), matched_blocks=matched, running=running)
        for i, (matched, running) in enumerate(facts)
    ]


@pytest.mark.parametrize(
    ("candidates", "pod", "selection"),
    [
        pytest.param(pods((0, 3)), "a", Selection.LEAST_REQUEST, id="only pod"),
        pytest.param(pods((5, 9)), "a", Selection.PREFIX_MATCH, id="only pod, with a prefix"),
        pytest.param(pods((2, 0), (5, 0), (4, 0)), "b", Selection.PREFIX_MATCH, id="longest prefix"),
        pytest.param(pods((5, 2), (5, 1), (5, 3)), "b", Selection.PREFIX_MATCH, id="equal prefix, less load"),
        pytest.param(pods((0, 2), (0, 1), (0, 3)), "b", Selection.LEAST_REQUEST, id="no prefix"),
        pytest.param(pods((9, 4), (3, 0), (0, 1)), "b", Selection.PREFIX_MATCH, id="busy, next prefix"),
        pytest.param(pods((9, 4), (0, 1), (0, 0)), "c", Selection.PREFIX_MATCH_SKIPPED, id="busy, no other"),
        pytest.param(pods((9, 8), (0, 0)), "a", Selection.PREFIX_MATCH, id="eight apart"),
        pytest.param(pods((9, 9), (0, 0)), "b", Selection.LOAD_IMBALANCE, id="nine apart"),
        pytest.param(pods((9, 9), (1, 0), (2, 0)), "c", Selection.PREFIX_MATCH, id="nine apart, idle prefix"),
        pytest.param(pods((9, 9), (8, 1), (0, 0)), "c", Selection.LOAD_IMBALANCE, id="only the idlest"),
    ],
)
def test_prefix_wins_unless_load_forbids_it(
    candidates: list[Candidate], pod: str, selection: Selection
) -> None:
    """The longest prefix is chosen within the bounds of load, and the choice says why."""
    choice = choose(candidates, POLICY, random.Random(1))

    assert (choice.pod, choice.selection) == (pod, selection)


@pytest.mark.parametrize(
    ("held", "pod", "selection"),
    [(15, "b", Selection.LEAST_REQUEST), (16, "a", Selection.PREFIX_MATCH)],
    ids=["too few", "enough"],
)
def test_a_few_tokens_are_no_prefix(held: int, pod: str, selection: Selection) -> None:
    """Where blocks are tokens, nearly all prompts begin like some other: that attracts none."""
    candidates = pods((held, 1), (0, 0))

    choice = choose(candidates, Policy(least_prefix_tokens=16, sigma=9), random.Random(1))

    assert (choice.pod, choice.selection) == (pod, selection)


@pytest.mark.parametrize(
    ("expected", "pod"), [pytest.param(15, "b", id="too few"), pytest.param(16, "a", id="enough")]
)
def test_a_few_expected_tokens_are_no_prefix(expected: int, pod: str) -> None:
    """Else all requests that begin alike run after one another."""
    candidates = [Candidate(pod="a", running=1, expected_tokens=expected), Candidate(pod="b")]

    assert choose(candidates, Policy(least_prefix_tokens=16), random.Random(1)).pod == pod


@pytest.mark.parametrize(
    ("running", "matched", "chosen"),
    [
        pytest.param(4, 0, ("a", Selection.EXPECTED_PREFIX), id="a few more than the idlest"),
        pytest.param(5, 0, ("b", Selection.LEAST_REQUEST), id="too many"),
        pytest.param(1, 6, ("a", Selection.PREFIX_MATCH), id="held by now"),
        pytest.param(1, 2, ("a", Selection.EXPECTED_PREFIX), id="held in part"),
    ],
)
def test_a_prefix_that_is_expected_attracts(
    running: int, matched: int, chosen: tuple[str, Selection]
) -> None:
    """It may wait for a few requests, and is never called a match."""
    a = Candidate(pod="a", running=running, matched_blocks=matched, expected_tokens=5)

    choice = choose([a, Candidate(pod="b")], Policy(sigma=0), random.Random(1))

    assert (choice.pod, choice.selection, choice.cached_tokens) == (*chosen, 0)


def test_a_blind_source_is_not_expected_to_hold_anything() -> None:
    """What reaches it is not seen."""
    blind = Candidate(pod="a", expected_tokens=5, state=State.BLIND)

    assert choose([blind], POLICY, random.Random(1)).selection is Selection.LEAST_REQUEST


def test_load_at_the_bound_is_allowed() -> None:
    """Loads 0, 2 and 4 have mean 2 and sample deviation 2: four requests are not too many, five are."""
    rng = random.Random(1)

    assert choose(pods((1, 4), (0, 2), (0, 0)), POLICY, rng).pod == "a"
    assert choose(pods((1, 5), (0, 2), (0, 0)), POLICY, rng).pod == "c"


def test_policy_moves_the_bounds() -> None:
    """A larger sigma and a larger imbalance let a busy pod keep its prefix."""
    candidates = pods((1, 12), (0, 0), (0, 0))

    assert choose(candidates, Policy(imbalance_after=12, sigma=2.0), random.Random(1)).pod == "a"
    assert choose(candidates, Policy(imbalance_after=12), random.Random(1)).pod != "a"
    assert choose(candidates, Policy(sigma=2.0), random.Random(1)).pod != "a"


def test_matches_of_a_blind_source_are_no_prefix() -> None:
    """What a source held before its connection was lost does not attract requests."""
    blind = Candidate(pod="a", matched_blocks=9, state=State.BLIND)

    assert choose([blind, Candidate(pod="b", running=1)], POLICY, random.Random(1)) == Choice(
        pod="a", matched_blocks=9, selection=Selection.LEAST_REQUEST, state=State.BLIND
    )
    assert choose([blind, Candidate(pod="b", matched_blocks=1)], POLICY, random.Random(1)).pod == "b"


@pytest.mark.parametrize("state", [State.EXACT, State.CATCHING_UP, State.DEGRADED])
def test_choice_says_how_far_its_source_is_known(state: State) -> None:
    """A match of a source that is not exact counts, and shows it."""
    candidates = [Candidate(pod="a", matched_blocks=3, state=state), Candidate(pod="b")]

    assert choose(candidates, POLICY, random.Random(1)) == Choice(
        pod="a", matched_blocks=3, selection=Selection.PREFIX_MATCH, state=state
    )


@pytest.mark.parametrize("matched", [0, 4])
def test_ties_are_broken_by_chance(matched: int) -> None:
    """Equal pods share the requests, and the same seed repeats the same choices."""
    candidates = pods((matched, 1), (matched, 1), (matched, 1))
    first, second = random.Random(7), random.Random(7)
    choices = [choose(candidates, POLICY, first).pod for _ in range(60)]

    assert {pod: choices.count(pod) > 8 for pod in "abc"} == {"a": True, "b": True, "c": True}
    assert choices == [choose(candidates, POLICY, second).pod for _ in range(60)]


def test_ranking_holds_every_pod_once() -> None:
    """Fail-over tries the other prefixes first, then the rest by load."""
    candidates = pods((1, 1), (0, 2), (3, 1), (0, 0), (9, 7))

    assert [(c.pod, c.selection) for c in rank(candidates, POLICY, random.Random(1))] == [
        ("c", Selection.PREFIX_MATCH),
        ("a", Selection.PREFIX_MATCH),
        ("d", Selection.PREFIX_MATCH_SKIPPED),
        ("b", Selection.PREFIX_MATCH_SKIPPED),
        ("e", Selection.PREFIX_MATCH_SKIPPED),
    ]


def test_no_candidate_is_an_error() -> None:
    """Without a pod there is nothing to choose, and nothing to rank."""
    with pytest.raises(NoPodReady):
        choose([], POLICY, random.Random(1))
    assert rank([], POLICY, random.Random(1)) == []
