"""What decides is tested with values alone."""

from kvsync import block_hashes


def test_prompts_with_one_prefix_share_its_blocks() -> None:
    """Two prompts have the same hashes as far as their full blocks are the same."""
    one, other = range(48), [*range(40), 1, 2, 3]

    assert block_hashes(one, 16)[:2] == block_hashes(other, 16)


def test_an_incomplete_block_has_no_hash() -> None:
    """Engines cache full blocks only."""
    assert len(block_hashes(range(17), 16)) == 1
