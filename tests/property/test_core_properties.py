"""The compiled core against Python's: equal results, and equal reasons for what is refused."""

import random
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvsync import core
from kvsync.codec import Limits, decode
from kvsync.errors import DecodeError
from kvsync.hashing import block_hashes

G = TypeVar("G")
T = TypeVar("T")

pytestmark = pytest.mark.skipif(core.built is None, reason="the compiled core was not built here")
quick = settings(deadline=None, max_examples=60, database=None)

LIMITS = (
    Limits(),
    Limits(events=12, hashes=2, tokens=6),
    Limits(payload_bytes=400, events=2, hashes=2, tokens=12),
    Limits(events=2, hashes=2, tokens=6),
)

NUMBERS = (0, 1, 16, 127, 128, 255, 256, 2**16, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1)
NEGATIVE = (-1, -32, -33, -128, -(2**15), -(2**31), -(2**31) - 1, -(2**63))
TEXTS = ("", "GPU", "CPU", "0xff", "zz", "full_attention", "mamba", "caf\u00e9", "a" * 40, "a" * 300)


class Peer:
    """Makes messages as engines do, now and then with something wrong: strategies would take seconds."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def seldom(self) -> bool:
        """Whether something unusual is to be done."""
        return self.rng.random() < 0.06

    def any(self, depth: int = 0) -> object:
        """A value of any kind."""
        rng = self.rng
        scalars = (
            None,
            True,
            1.5,
            rng.choice(NUMBERS),
            rng.choice(NEGATIVE),
            rng.choice(TEXTS),
            rng.randbytes(9),
        )
        roll = rng.randrange(10)
        if roll < 8 or depth > 2:
            return rng.choice(scalars)
        inner = [self.any(depth + 1) for _ in range(rng.randrange(3))]
        return inner if roll == 8 else {rng.choice(TEXTS): value for value in inner}

    def many(self, kinds: Callable[[], object], most: int) -> object:
        """A list of one kind of thing, now and then with something else in it."""
        made = [kinds() for _ in range(self.rng.randrange(most + 1))]
        if made and self.seldom():
            made[self.rng.randrange(len(made))] = self.any()
        return made

    def hash(self) -> object:
        """A hash in one of its forms."""
        rng = self.rng
        width = rng.choice((0, 1, 8, 32, 32)) if self.seldom() else 32
        return rng.choice(
            (rng.choice(NUMBERS), rng.choice(NEGATIVE), rng.getrandbits(64), rng.randbytes(width))
        )

    def optional(self, *values: object) -> object:
        """Nil or one of some values."""
        return self.rng.choice((None, *values))

    def event(self) -> object:
        """An event as an array or a map, of some age."""
        rng = self.rng
        hashes, medium = self.many(self.hash, 3), self.optional(*TEXTS)
        group = self.optional(0, rng.choice(NUMBERS))
        fields: dict[str, object] = {
            "type": "BlockStored",
            "block_hashes": hashes,
            "parent_block_hash": self.optional(self.hash()),
            "token_ids": self.many(lambda: rng.choice(NUMBERS[:10]), 7),
            "block_size": rng.choice(NUMBERS),
            "lora_id": self.optional(rng.choice(NUMBERS), rng.choice(NEGATIVE)),
            "medium": medium,
            "lora_name": self.optional(*TEXTS),
            "extra_keys": self.optional(self.many(lambda: None, 3), self.many(lambda: ["salt"], 2)),
            "group_idx": group,
            "kv_cache_spec_kind": self.optional(*TEXTS),
            "kv_cache_spec_sliding_window": self.optional(rng.choice(NUMBERS)),
        }
        roll = rng.randrange(10)
        if roll < 3:
            fields = {"type": "BlockRemoved", "block_hashes": hashes, "medium": medium, "group_idx": group}
        elif roll < 4:
            fields = {"type": "AllBlocksCleared"}
        if self.seldom():
            fields[rng.choice(list(fields))] = self.any()
        if self.seldom():
            fields[rng.choice(("cache_salt", "remaining_copy_counts", "locality"))] = self.any()
        if rng.random() < 0.5:
            return list(fields.values())[: None if rng.random() < 0.6 else rng.randrange(13)]
        for name in list(fields)[1 if self.seldom() else 5 :]:
            if rng.random() < 0.3:
                del fields[name]
        return fields

    def message(self) -> bytes:
        """A message, now and then damaged."""
        rng = self.rng
        events: object = self.many(self.event, 3)
        batch: object = [rng.random(), events, self.optional(0, rng.choice(NUMBERS))][
            : 2 if self.seldom() else 3
        ]
        if self.seldom():
            batch = rng.choice(
                ([self.any(), events, self.any()], {"ts": 1.0, "events": events}, events, self.any())
            )
        packed = bytearray(msgpack.packb(batch))
        if self.seldom():
            packed[rng.randrange(len(packed))] = rng.randrange(256)
        if self.seldom():
            return bytes(packed[: rng.randrange(len(packed))])
        return bytes(packed) + (rng.randbytes(1) if self.seldom() else b"")


def in_both(work: Callable[[G], T], given: G) -> tuple[T, T]:
    """Do something with each implementation: Python's, then the compiled one."""
    try:
        core.choose("python")
        python = work(given)
        core.choose("native")
        return python, work(given)
    finally:
        core.choose("auto")


def outcome(limits: Limits, payload: bytes) -> object:
    """Everything that comes of a payload, with the types of all values."""
    try:
        return repr(decode(payload, limits))
    except DecodeError as error:
        return error.reason, str(error)


@quick
@given(seed=st.integers(0, 2**64 - 1))
def test_messages_are_read_alike(seed: int) -> None:
    """Whatever is in a message, and whatever limits hold, both make the same of it."""
    peer = Peer(seed)
    for payload in [peer.message() for _ in range(40)]:
        for limits in LIMITS:
            python, native = in_both(partial(outcome, limits), payload)
            assert native == python


def test_messages_as_engines_send_them_take_the_compiled_way() -> None:
    """Most of what is compared above is really read by both."""
    assert core.built
    peer = Peer(1)
    limits = LIMITS[0]
    taken = [
        core.built.decode(peer.message(), limits.events, limits.hashes, limits.tokens) for _ in range(500)
    ]

    assert sum(batch is not None for batch in taken) > 100


@quick
@given(
    count=st.integers(0, 600),
    odd=st.sampled_from([0, 2**30 - 1, 2**30, 2**32 - 1, 2**32, 2**64, -1, -(2**31), True, 1.5, "1"]),
    block_size=st.integers(-1, 9) | st.sampled_from([15, 16, 31, 32, 33, 59, 60, 61, 64, 256, 257, 300]),
    seed=st.sampled_from(NUMBERS),
    parent=st.none() | st.sampled_from(NUMBERS),
)
def test_blocks_are_hashed_alike(
    count: int, odd: object, block_size: int, seed: int, parent: int | None
) -> None:
    """Whatever the tokens are and whatever holds them, both give the same hashes or the same error."""
    tokens: list[Any] = [*range(count), odd, *range(count, 600)]

    def hashed(held: object) -> object:
        try:
            return block_hashes(held, block_size, seed=seed, parent=parent)  # type: ignore[arg-type]
        except ValueError as error:
            return str(error)

    held: object
    arrays = [array("I", tokens), array("Q", tokens)] if type(odd) is int and 0 <= odd < 2**32 else []
    for held in (tokens, tuple(tokens), *arrays):
        python, native = in_both(hashed, held)
        assert native == python
