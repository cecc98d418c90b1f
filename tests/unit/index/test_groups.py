"""Hybrid models: a prefix counts as far as every group of layers would let the engine use it."""

from collections.abc import Collection
from dataclasses import replace

import pytest

from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, Source
from kvsync.hashing import block_hashes
from kvsync.index import Match, PrefixIndex, Prompt, lookup
from kvsync.index.groups import Group, longest_reuse

pytestmark = pytest.mark.usefixtures("either_core")

POD = Source("a", "gemma")
TOKENS = tuple(range(100, 132))  # eight blocks of four
HASHES = tuple(range(1, 9))
WINDOW = 8  # tokens: two blocks must precede a reuse


def full(group: int = 1) -> BlockStored:
    """Return the event of the whole prompt in a group of full attention."""
    return BlockStored(
        block_hashes=HASHES,
        parent_block_hash=None,
        token_ids=TOKENS,
        block_size=4,
        group_idx=group,
        spec_kind="full_attention",
    )


def part(held: Collection[int], group: int = 0, kind: str = "sliding_window") -> BlockStored:
    """Return the event of the whole prompt in another group, which keeps some of its blocks."""
    window = WINDOW if kind == "sliding_window" else None
    hashes = tuple(each for each in HASHES if each in held)
    return replace(full(group), block_hashes=hashes, spec_kind=kind, sliding_window=window)


def reused(*events: BlockStored | BlockRemoved | AllBlocksCleared, blocks: int = 8) -> int:
    """Return how many blocks of the prompt's first `blocks` are matched after the events."""
    index = PrefixIndex()
    index.apply_batch(POD, events)
    return index.match("gemma", "", block_hashes(TOKENS[: blocks * 4], 4), block_size=4).get("a", 0)


@pytest.mark.parametrize(
    ("held", "blocks", "expected"),
    [
        pytest.param({7, 8}, 8, 8, id="the-last-window"),
        pytest.param({8}, 8, 0, id="half-a-window"),
        pytest.param({3, 4, 8}, 8, 4, id="an-earlier-window"),
        pytest.param({3, 4, 7, 8}, 7, 4, id="a-shorter-prompt"),
        pytest.param({1, 4, 6}, 8, 1, id="only-the-beginning"),
        pytest.param({1, 2}, 8, 2, id="the-beginning-is-a-window"),
        pytest.param(set(), 8, 0, id="nothing"),
        pytest.param(set(HASHES), 8, 8, id="everything"),
    ],
)
def test_sliding_windows_need_the_blocks_before_the_reuse(held: set[int], blocks: int, expected: int) -> None:
    """A window of 8 tokens needs 7 before the next one, two blocks of 4, or all from the start."""
    assert reused(full(), part(held), blocks=blocks) == expected


def test_order_of_the_groups_does_not_matter() -> None:
    """A window's event that comes before that of full attention is understood as well."""
    assert reused(part({3, 4}), full()) == 4


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param({3, 4, 7, 8}, {3, 4}, 4, id="same-windows"),
        pytest.param({3, 4, 7, 8}, {2, 5, 6}, 0, id="no-common-one"),
        pytest.param({5, 6, 7, 8}, {3, 4, 5, 6}, 6, id="overlapping"),
    ],
)
def test_all_groups_must_agree(one: set[int], other: set[int], expected: int) -> None:
    """The longest length that every group allows is used."""
    assert reused(part(one, 0), full(1), part(other, 2)) == expected


def test_groups_that_never_agree_are_looked_at_once() -> None:
    """Whatever a source announces, a lookup looks at each block of each group once at most."""
    asked: list[int] = []

    def engine_hash(position: int) -> int:
        asked.append(position)
        return position

    odd, even = ({n: 1 for n in range(2000) if n % 2 == rest} for rest in (1, 0))
    everything = dict.fromkeys(range(2000), 1)
    tables = [(odd, 1), (even, 1), (everything, 900), (everything, None)]
    groups = [Group(block_size=4, run=run, copies=copies) for copies, run in tables]

    assert longest_reuse(groups, engine_hash, 2000) == 0
    assert len(asked) <= 4 * 2000


def test_a_second_group_of_full_attention_needs_everything() -> None:
    """Models with several such groups reuse what all of them hold from the start."""
    assert reused(full(0), part({1, 2, 3, 7, 8}, 1, "full_attention")) == 3


def test_mamba_needs_one_state() -> None:
    """The state behind the last reused block is enough."""
    assert reused(full(), part({2, 6}, 0, "mamba")) == 6


def test_prompt_that_is_held_whole_is_reused_up_to_its_last_block() -> None:
    """The last token is computed again; what precedes its block must then be in the window."""
    index = PrefixIndex()
    index.apply_batch(POD, [full(), part({3, 4, 7, 8})])

    found = lookup(index, Prompt(model="gemma", tokens=TOKENS))
    assert found == {POD: Match(blocks=8, block_size=4, cached_tokens=16)}


def test_blocks_of_a_window_are_counted_and_removed() -> None:
    """A window's removal changes the window alone, and only its last copy."""
    gone = BlockRemoved(block_hashes=(8,), group_idx=0)
    assert reused(full(), part({7, 8}), part({8}), gone) == 8
    assert reused(full(), part({7, 8}), part({8}), gone, gone) == 0
    assert reused(full(), part({7, 8}), replace(gone, group_idx=1)) == 0


def test_clearing_empties_all_groups() -> None:
    """What is stored after a clearing needs its window again."""
    assert reused(full(), part({7, 8}), AllBlocksCleared(), full()) == 0
    assert reused(full(), part({7, 8}), AllBlocksCleared(), full(), part({7, 8})) == 8


def test_adapters_have_their_own_windows() -> None:
    """Blocks of an adapter with the same tokens are other blocks, in windows, too."""
    index = PrefixIndex()
    tuned = {"lora_name": "tuned", "block_hashes": tuple(range(11, 19))}
    index.apply_batch(POD, [full(), part({7, 8}), replace(full(), **tuned)])  # type: ignore[arg-type]  # checked when applied

    hashes = block_hashes(TOKENS, 4)
    assert index.match("gemma", "", hashes, block_size=4) == {"a": 8}
    assert index.match("gemma", "tuned", hashes, block_size=4) == {}


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(replace(part({8}), spec_kind="chunked_local_attention"), id="unknown-kind"),
        pytest.param(replace(part({8}), sliding_window=None), id="window-without-a-size"),
        pytest.param(replace(part({8}), block_size=8), id="blocks-of-another-size"),
    ],
)
def test_groups_whose_rule_is_not_known_are_counted(event: BlockStored) -> None:
    """They change nothing, and neither do their removals."""
    index = PrefixIndex()
    index.apply(POD, full())

    assert index.apply(POD, event) == {"skipped_group": 1}
    assert index.apply(POD, BlockRemoved(block_hashes=(8,), group_idx=0)) == {"skipped_group": 1}


def test_models_without_full_attention_are_counted() -> None:
    """Nothing says which blocks of a prompt precede a window that is held."""
    index = PrefixIndex()

    assert index.apply_batch(POD, [part({7, 8}), part({7, 8}, 1)]) == [{"skipped_group": 1}] * 2


def test_groups_and_their_blocks_are_bounded() -> None:
    """A source cannot fill the memory with groups or with their blocks."""
    index = PrefixIndex(max_blocks_per_source=3)
    index.apply(POD, full(99))
    applied = [index.apply(POD, part({1, 2, 3, 4}, number)) for number in range(40)]

    assert applied[0] == {"group_stored": 3, "dropped": 1}
    assert [each for each in applied if each == {"skipped_group": 1}] == [{"skipped_group": 1}] * 8
