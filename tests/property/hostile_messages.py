"""Feeds damaged messages to the compiled core: `hostile_messages.py COUNT SEED`; says what became of them.

Run under AddressSanitizer, which ends the process at the first byte that is read or written out of bounds.
Every few thousand messages the index must hold together, and be empty once all sources are forgotten.
"""

import random
import sys
from array import array
from contextlib import suppress
from functools import reduce
from itertools import cycle
from operator import xor

from kvsync import core
from kvsync.codec import LIMITS, decode
from kvsync.hashing import PromptHashes
from kvsync.index import Digest, PrefixIndex
from tests.property.test_core_properties import Peer
from tests.property.test_native_index_properties import SOURCES, Engine, Pair

WORDS = [
    *(b"\xcf" + b"\xff" * 8, b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc4\x00"),
    *(b"\xdf\x7f\xff\xff\xff", b"\xce\xff\xff\xff\xff", b"\xd3\x80" + b"\0" * 7, b"\xdb\x7f\xff\xff\xff"),
    *(b"\xc0", b"\x90", b"\x80", b"\x9f", b"\x8f", b"\xa0", b"\xcc\xff", b"\xc7\x01\x01\x00", b"\xcb", b""),
]
"""Heads of values with lengths at their bounds."""

EACH = 4000
"""Messages to one index."""


def damaged(payload: bytes, other: bytes, word: bytes, position: int, kind: int) -> bytes:
    """Return a message with something put into, over or instead of a part of it, or cut off."""
    at = position % (len(payload) + 1)
    if kind < 2:
        return payload
    if kind < 8:
        return payload[:at] + word + payload[at + len(word) :]
    if kind < 11:
        return payload[:at] + word + payload[at:]
    if kind < 13:
        return payload[:at] + other[at:]
    if kind < 15:
        return payload[:at] + bytes((position & 255,)) + payload[at + 1 :]
    return payload[:at]


def ask(index: PrefixIndex, tokens: tuple[object, ...], rng: random.Random) -> None:
    """Look prompts up as lists and arrays, with now and then a token that is none."""
    odd = [*tokens, rng.choice((0, 2**32 - 1, 2**32, -1, 1.5, None))]
    rng.shuffle(odd)
    size = rng.choice((1, 2, 3))
    index.match_sources("llama", "", PromptHashes(array("I", tokens), size), block_size=2)  # type: ignore[arg-type]
    with suppress(ValueError):
        index.match_sources("llama", "", PromptHashes(odd, size), block_size=2)  # type: ignore[arg-type]


def check(index: PrefixIndex) -> None:
    """What is held is what is counted, and nothing is left of what is forgotten."""
    for source in SOURCES:
        held = index.blocks(source)
        assert index.digest(source) == Digest(len(held), reduce(xor, held, 0))
        if taken := index.held(source):
            index.restore(source, taken)
        assert index.blocks(source) == held
    for source in SOURCES:
        index.forget(source)
    assert index.bytes_estimated == 0


def feed(seed: int) -> tuple[int, int]:
    """Give an index EACH messages; returns how many were applied from their bytes, and decoded."""
    assert core.built
    rng, engine, peer = random.Random(seed), Engine(seed), Peer(seed)
    index = Pair.made("native", rng.choice((24, 400, 100_000)))
    payloads = [*(engine.payload() for _ in range(56)), *(peer.message() for _ in range(8))]
    for source in SOURCES:
        index.apply_batch(source, decode(payloads[0]).events)
    choices = rng.randbytes(5 * EACH)
    taken = read = 0
    for source, *chosen in zip(
        cycle(SOURCES), *(choices[EACH * i : EACH * (i + 1)] for i in range(5)), strict=False
    ):
        one, other, word, position, kind = chosen
        payload = damaged(
            payloads[one & 63],
            payloads[other & 63],
            WORDS[word % len(WORDS)],
            position + (other & 192),
            kind & 15,
        )
        if index.apply_payloads(source, [payload]):
            taken += 1
        elif batch := core.built.decode(payload, LIMITS.events, LIMITS.hashes, LIMITS.tokens):
            read += 1
            if kind >> 4 == 0:
                index.apply_batch(source, batch.events)
        if kind == position:
            ask(index, engine.prompt(9), rng)
    check(index)
    return taken, read


if __name__ == "__main__":
    count, seed = map(int, sys.argv[1:])
    needed = -(-count // EACH)
    # No two seeds have a round in common.
    rounds = [feed(number) for number in range(seed * needed, (seed + 1) * needed)]
    applied, decoded = map(sum, zip(*rounds, strict=True))
    print(f"{len(rounds) * EACH} messages, {applied} applied, {decoded} decoded")
