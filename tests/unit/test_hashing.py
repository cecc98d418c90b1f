"""Block hashes: fixed values, chaining, and what tells two blocks apart."""

from array import array
from collections.abc import Sequence

import pytest

from kvsync.hashing import DEFAULT_SEED, PromptHashes, block_hashes

pytestmark = pytest.mark.usefixtures("either_core")

TOKENS = list(range(1, 9))


def test_hashes_are_the_same_in_every_process() -> None:
    """Fixed inputs give these fixed values, so gateways of different builds agree."""
    assert DEFAULT_SEED == 0
    assert block_hashes(TOKENS, 4) == [8052976908588476977, 16362517228796925090]


@pytest.mark.parametrize(
    ("tokens", "count"),
    [
        pytest.param(0, 0, id="nothing"),
        pytest.param(3, 0, id="less than a block"),
        pytest.param(4, 1, id="exactly one"),
        pytest.param(7, 1, id="one and a tail"),
        pytest.param(64, 16, id="sixteen"),
    ],
)
def test_only_full_blocks_are_hashed(tokens: int, count: int) -> None:
    """An incomplete last block has no hash."""
    assert len(block_hashes(range(tokens), 4)) == count


def test_parent_continues_a_chain() -> None:
    """Hashing in two parts gives what hashing at once gives."""
    first, second = block_hashes(TOKENS, 4)

    assert block_hashes(TOKENS[4:], 4, parent=first) == [second]


def test_parent_of_zero_is_a_parent() -> None:
    """A parent hash that happens to be 0 is not taken for the root of another seed."""
    assert block_hashes(TOKENS, 8, seed=7, parent=0) == block_hashes(TOKENS, 8, seed=0)


def test_same_tokens_after_another_prefix_differ() -> None:
    """A hash names the whole prefix, not only its own block."""
    assert block_hashes([1, 2, 1, 2], 2)[1] != block_hashes([3, 4, 1, 2], 2)[1]


def test_seed_separates_chains() -> None:
    """Two seeds share no hash."""
    assert set(block_hashes(TOKENS, 4, seed=1)).isdisjoint(block_hashes(TOKENS, 4, seed=2))


def test_extra_of_the_first_block_changes_all_after_it() -> None:
    """A cache salt on the first block tells the whole chain apart."""
    salted = block_hashes(TOKENS, 4, extra=[("salt",)])

    assert set(salted).isdisjoint(block_hashes(TOKENS, 4))
    assert salted != block_hashes(TOKENS, 4, extra=[("pepper",)])


@pytest.mark.parametrize("extra", [None, [], [None], [()], [None, (), ("beyond the last block",)]])
def test_absent_extra_adds_nothing(extra: list[tuple[object, ...] | None] | None) -> None:
    """None, an empty tuple and surplus entries leave the hashes as they are."""
    assert block_hashes(TOKENS, 4, extra=extra) == block_hashes(TOKENS, 4)


@pytest.mark.parametrize("token", [-1, 2**32, 1.5])
def test_tokens_outside_uint32_are_refused(token: int) -> None:
    """A token that no vocabulary can hold is an error of the caller."""
    with pytest.raises(ValueError, match="unsigned 32-bit"):
        block_hashes([token], 1)


def test_largest_token_is_accepted() -> None:
    """The whole uint32 range is hashed."""
    assert len(block_hashes([0, 2**32 - 1], 1)) == 2


@pytest.mark.parametrize("block_size", [0, -16])
def test_block_size_below_one_is_refused(block_size: int) -> None:
    """There are no blocks without tokens."""
    with pytest.raises(ValueError, match="at least 1"):
        block_hashes(TOKENS, block_size)


def test_bytes_of_an_array_are_hashed_as_the_numbers_in_it() -> None:
    """What holds token ids does not change their hashes, whatever is left over behind the last block."""
    expected = block_hashes(TOKENS, 4)

    for tokens in (tuple(TOKENS), array("I", TOKENS), array("I", [*TOKENS, 9]), array("Q", TOKENS)):
        assert block_hashes(tokens, 4) == expected


@pytest.mark.parametrize("kind", [list, lambda tokens: array("I", tokens)], ids=["list", "array"])
@pytest.mark.parametrize("count", [0, 3, 32, 33, 1000])
@pytest.mark.parametrize("extra", [None, [("salt",)], [None] * 9 + [("image",)]])
def test_hashes_of_a_prompt_are_those_made_at_once(
    kind: type[list[int]], count: int, extra: Sequence[tuple[object, ...] | None] | None
) -> None:
    """However they are read, hashes that are made step by step are the same."""
    tokens = kind(range(count))
    expected = block_hashes(tokens, 4, seed=5, extra=extra)

    def prompt() -> PromptHashes:
        return PromptHashes(tokens, 4, seed=5, extra=extra)

    assert list(prompt()) == expected
    assert [prompt()[position] for position in range(len(prompt()))] == expected
    assert prompt()[:-1] == expected[:-1]
    assert len(prompt()) == len(expected)


def test_hashes_of_a_prompt_are_made_as_far_as_they_are_read() -> None:
    """A prompt of which nothing is known costs its first blocks: what is wrong behind them does not show."""
    hashes = PromptHashes([*range(1000), -1, -1], 2)

    assert next(iter(hashes)) == block_hashes([0, 1], 2)[0]
    with pytest.raises(ValueError, match="unsigned 32-bit"):
        list(hashes)


def test_a_block_larger_than_memory_is_never_full() -> None:
    """A size that a peer made up fails nothing."""
    assert block_hashes([1, 2], 2**62) == []
