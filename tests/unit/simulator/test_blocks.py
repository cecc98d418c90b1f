"""The block cache decides as vLLM V1's block pool does.

Prompts are spelled: a capital is a full block of four tokens, a small letter one token. Events are read back
in the same spelling: `+AB` stores A and B at the root, `C+D` stores D behind C, `-A` removes one copy of A.
"""

import pytest

from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, Event
from kvsync.simulator.blocks import BASE_MODEL, BlockCache, CacheScope, CacheUse, OutOfBlocks, Resident

SQL = CacheScope(lora_name="sql", lora_id=1)


def spell(prompt: str) -> list[int]:
    """The tokens of a spelled prompt."""
    return [ord(letter) for letter in prompt for _ in range(4 if letter.isupper() else 1)]


class Story:
    """A cache of blocks of four tokens whose events are read back as text."""

    def __init__(self, capacity: int = 8, seed: int = 0) -> None:
        self.cache = BlockCache(capacity, 4, seed)
        self._names: dict[int | None, str] = {None: ""}

    def allocate(
        self, request: str, prompt: str, scope: CacheScope = BASE_MODEL, budget: int | None = None
    ) -> tuple[int, str]:
        """Cached tokens, and what happened."""
        got = self.cache.allocate(request, spell(prompt), scope, budget)
        return got.cached_tokens, self._read(got.events)

    def extend(self, request: str, tokens: str) -> str:
        """What happened."""
        return self._read(self.cache.extend(request, spell(tokens)))

    def resident(self) -> dict[str, int]:
        """Copies of each resident block."""
        return {chr(one.token_ids[0]): one.copies for one in self.cache.table()}

    def _read(self, events: tuple[Event, ...]) -> str:
        return " ".join(map(self._word, events))

    def _word(self, event: Event) -> str:
        match event:
            case BlockStored():
                letters = "".join(map(chr, event.token_ids[:: event.block_size]))
                self._names |= zip(event.block_hashes, letters, strict=True)
                return f"{self._names[event.parent_block_hash]}+{letters}"
            case BlockRemoved(block_hashes=(removed,)):
                return f"-{self._names[removed]}"
            case _:
                return "cleared"


def test_new_prompt_is_announced_as_one_chain() -> None:
    """The full blocks of a new prompt are one event at the root; its tail is not announced."""
    assert Story().allocate("r", "ABx") == (0, "+AB")


def test_events_carry_what_vllm_fills_in() -> None:
    """Flat tokens, the GPU, the only cache group, its kind, and no extra keys per block."""
    events = BlockCache(8, 4).allocate("r", [1, 2, 3, 4, 5, 6, 7, 8]).events

    assert events == (
        BlockStored(
            block_hashes=(0x1E0B2E028EF071CB, 0xEFAD121D154AB2D6),
            parent_block_hash=None,
            token_ids=(1, 2, 3, 4, 5, 6, 7, 8),
            block_size=4,
            lora_id=None,
            medium="GPU",
            lora_name=None,
            extra_keys=(None, None),
            group_idx=0,
            spec_kind="full_attention",
            sliding_window=None,
        ),
    )


def test_cached_prefix_is_reused_and_only_the_rest_announced() -> None:
    """A second prompt reuses the shared blocks; its own chain hangs on the last of them."""
    story = Story()
    story.allocate("r", "ABC")

    assert story.allocate("s", "ABD") == (8, "B+D")


def test_fully_cached_prompt_recomputes_its_last_block() -> None:
    """The last token is always computed, in a second physical copy of its block, announced again."""
    story = Story()
    story.allocate("r", "ABC")

    assert story.allocate("s", "ABC") == (8, "B+C")
    assert story.resident() == {"A": 1, "B": 1, "C": 2}


def test_eagle_recomputes_the_last_block_of_a_hit() -> None:
    """One block less is reused than is cached; a hit of a single block does not count."""
    cache = BlockCache(8, 4, recomputes_last_block=True)
    cache.allocate("r", spell("ABC"))

    assert cache.allocate("s", spell("ABD")).cached_tokens == 4
    assert cache.allocate("t", spell("AE")).cached_tokens == 0


def test_a_request_may_read_nothing() -> None:
    """A prompt whose logprobs are asked for is computed as a whole, in copies."""
    cache = BlockCache(8, 4)
    cache.allocate("r", spell("ABC"))

    assert cache.allocate("s", spell("ABC"), use=CacheUse(reads=False)).cached_tokens == 0
    assert [block.copies for block in cache.table()] == [2, 2, 2]


def test_hits_may_be_announced_again() -> None:
    """With full reports the reused blocks are announced from the root on, though no copy of them was made."""
    cache = BlockCache(8, 4)
    stored = cache.allocate("r", spell("AB")).events
    again, new = cache.allocate("s", spell("ABC"), use=CacheUse(reports_hits=True)).events

    assert (again,) == stored
    assert isinstance(new, BlockStored)
    assert len(new.block_hashes) == 1
    assert [block.copies for block in cache.table()] == [1, 1, 1]


def test_what_is_left_of_an_evicted_chain_is_reused() -> None:
    """The prefix ends at the first block that is gone; the rest is stored behind the last hit."""
    story = Story(capacity=8)
    story.allocate("r", "ABCDEF")
    story.cache.free("r")
    story.allocate("s", "WXYZ")
    story.cache.free("s")

    assert story.resident() == {"A": 1, "B": 1, "C": 1, "D": 1, "W": 1, "X": 1, "Y": 1, "Z": 1}
    assert story.allocate("t", "ABCDEF") == (16, "-Z -Y D+EF")


def test_leaves_are_evicted_before_their_parents() -> None:
    """Blocks come back last first, so a chain is eaten from its end."""
    story = Story(capacity=4)
    story.allocate("r", "ABCD")
    story.cache.free("r")

    assert story.allocate("s", "WX") == (0, "-D -C +WX")


def test_least_recently_freed_is_evicted_first() -> None:
    """Between requests, the one that ended first loses its blocks first."""
    story = Story(capacity=4)
    story.allocate("r", "AB")
    story.allocate("s", "WX")
    story.cache.free("s")
    story.cache.free("r")

    assert story.allocate("t", "K") == (0, "-X +K")


def test_block_without_hash_is_reused_first() -> None:
    """A tail that was never full can match nothing, so it goes before every cached block."""
    story = Story(capacity=3)
    story.allocate("r", "AB")
    story.cache.free("r")
    story.allocate("s", "x")
    story.cache.free("s")

    assert story.allocate("t", "C") == (0, "+C")


def test_oldest_copy_is_hit() -> None:
    """Of several copies the first stored is used, and leaves its place in the queue."""
    story = Story(capacity=3)
    for request, prompt in (("r", "A"), ("s", "W"), ("t", "A")):
        story.allocate(request, prompt)
    for request in ("r", "s", "t"):
        story.cache.free(request)

    assert story.allocate("u", "Ax") == (4, "-W")


def test_hits_are_not_evicted_by_the_request_that_hits_them() -> None:
    """Hits leave the free queue before new blocks are drawn from it."""
    story = Story(capacity=4)
    story.allocate("r", "AB")
    story.allocate("s", "WX")
    story.cache.free("r")
    story.cache.free("s")

    assert story.allocate("t", "ABC") == (8, "-X B+C")


def test_block_stays_while_one_of_its_users_does() -> None:
    """A shared block comes back only when its last user ended."""
    story = Story(capacity=3)
    story.allocate("r", "Ax")
    story.allocate("s", "Ay")
    story.cache.free("r")

    assert story.cache.free_blocks == 1
    assert story.allocate("t", "z") == (0, "")
    assert story.resident() == {"A": 1}


def test_removal_carries_what_vllm_fills_in() -> None:
    """One hash, the GPU, and the only cache group."""
    blocks = BlockCache(1, 4)
    blocks.allocate("r", [1, 2, 3, 4])
    blocks.free("r")

    assert blocks.allocate("s", [9]).events == (
        BlockRemoved(block_hashes=(0x1E0B2E028EF071CB,), medium="GPU", group_idx=0),
    )


def test_each_copy_is_removed_by_itself() -> None:
    """Two copies give two removals; the hash is found until the second."""
    story = Story(capacity=2)
    story.allocate("r", "A")
    story.allocate("s", "A")
    story.cache.free("r")
    story.cache.free("s")

    assert story.allocate("t", "B") == (0, "-A +B")
    assert story.resident() == {"A": 1, "B": 1}
    assert story.allocate("u", "C") == (0, "-A +C")
    assert story.resident() == {"B": 1, "C": 1}


def test_generated_tokens_fill_blocks() -> None:
    """Token by token, a block is announced behind its parent when it is full, and not before."""
    story = Story()
    story.allocate("r", "Ax")

    assert [story.extend("r", token) for token in ("x", "x", "x", "y")] == ["", "", "A+x", ""]


def test_long_prompt_is_computed_in_chunks() -> None:
    """Each chunk announces the blocks that it fills."""
    story = Story()

    assert story.allocate("r", "ABwwwwD", budget=10) == (0, "+AB")
    assert story.extend("r", "wwD") == "B+wD"


def test_prompt_that_does_not_fit_changes_nothing() -> None:
    """Without enough free blocks nothing is reused, drawn or announced."""
    story = Story(capacity=4)
    story.allocate("r", "AB")

    with pytest.raises(OutOfBlocks, match="3 blocks needed, 2 of 4 free"):
        story.allocate("s", "ACDE")
    assert (story.cache.free_blocks, story.resident()) == (2, {"A": 1, "B": 1})


def test_free_hits_count_as_needed() -> None:
    """A hit that no request uses is taken from the free blocks too."""
    story = Story(capacity=4)
    story.allocate("r", "AB")
    story.cache.free("r")
    story.allocate("s", "WX")

    with pytest.raises(OutOfBlocks, match="3 blocks needed, 2 of 4 free"):
        story.allocate("t", "ABC")


def test_generated_token_that_does_not_fit_changes_nothing() -> None:
    """A full cache refuses the next block and keeps the request as it was."""
    story = Story(capacity=1)
    story.allocate("r", "A")

    with pytest.raises(OutOfBlocks, match="1 blocks needed, 0 of 1 free"):
        story.extend("r", "x")
    story.cache.free("r")
    assert story.allocate("s", "B") == (0, "-A +B")


def test_clear_forgets_everything() -> None:
    """Clearing is announced, and nothing is found afterwards."""
    story = Story()
    story.allocate("r", "AB")
    story.cache.free("r")

    assert story.cache.clear() == (AllBlocksCleared(),)
    assert story.resident() == {}
    assert story.allocate("s", "ABx") == (0, "+AB")


def test_clear_is_refused_while_a_request_runs() -> None:
    """As in vLLM, running requests keep the whole cache."""
    story = Story()
    story.allocate("r", "AB")

    assert story.cache.clear() == ()
    assert story.resident() == {"A": 1, "B": 1}


def test_adapter_names_every_block_of_its_chain() -> None:
    """A LoRA request shares nothing with the base model and carries the adapter in every block."""
    story = Story()
    story.allocate("r", "AB")
    assert story.allocate("s", "ABx", SQL) == (0, "+AB")

    (event,) = BlockCache(8, 4).allocate("r", spell("AB"), SQL).events
    assert isinstance(event, BlockStored)
    assert (event.lora_id, event.lora_name, event.extra_keys) == (1, "sql", (("sql",), ("sql",)))


def test_salt_enters_the_first_block_only() -> None:
    """A salted chain is separate from the first block on; only that block names the salt."""
    story = Story()
    story.allocate("r", "ABx")
    assert story.allocate("s", "ABx", CacheScope(salt="tenant")) == (0, "+AB")

    (event,) = BlockCache(8, 4).allocate("r", spell("AB"), CacheScope(salt="tenant")).events
    assert isinstance(event, BlockStored)
    assert event.extra_keys == (("tenant",), None)


def test_adapter_comes_before_the_salt() -> None:
    """Extra keys are in vLLM's order: adapter, then salt."""
    assert CacheScope(lora_name="sql", lora_id=1, salt="tenant").extra_keys(0) == ("sql", "tenant")


def test_table_tells_what_a_block_stands_for() -> None:
    """A resident block has its parent, its tokens, adapter and, where it entered, the salt."""
    blocks = BlockCache(8, 2)
    blocks.allocate("r", [1, 2, 3, 4], CacheScope(lora_name="sql", lora_id=1, salt="tenant"))

    assert blocks.table() == (
        Resident(hash=0x3E3B57EDF073BA96, parent=None, token_ids=(1, 2), lora="sql", salt="tenant", copies=1),
        Resident(
            hash=0x93CE1FCF51DDFB14,
            parent=0x3E3B57EDF073BA96,
            token_ids=(3, 4),
            lora="sql",
            salt=None,
            copies=1,
        ),
    )


def test_seed_changes_every_hash() -> None:
    """Engines with different seeds give the same content different hashes."""
    one, other = (Story(seed=seed) for seed in (0, 1))
    one.allocate("r", "AB")
    other.allocate("r", "AB")

    assert {a.hash for a in one.cache.table()}.isdisjoint(b.hash for b in other.cache.table())


def test_usage_is_the_share_of_blocks_in_use() -> None:
    """Cached blocks that no request uses are free."""
    story = Story(capacity=8)
    story.allocate("r", "AB")
    story.allocate("s", "CDEF")
    story.cache.free("s")

    assert story.cache.usage == 0.25
