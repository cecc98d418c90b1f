"""One index at a row of the table: `python player.py PLAYER hot|resident|match|memory NAME=VALUE...`.

It prints JSON. It is run by path in the interpreter that has the player, ours or a peer's, and so imports
nothing of ours unless it is us. Both get the same tokens from the same seed, and the same clock: the CPU time
of the whole process, since some do their work in threads.

What each is given is what its users have: we a batch of msgpack with token ids, as an engine sends it;
Dynamo's tree JSON with the hashes of the tokens, which its publishers make. Making these is not measured.
"""

import gc
import json
import os
import random
import sys
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

BLOCK_SIZE = 16
VOCABULARY_MASK = (1 << 17) - 1
ENGINE_FACTOR = 0x9E3779B97F4A7C15
"""Odd, so that it makes each number another one of 64 bits, as an engine's hashes are."""
BACKGROUND_BLOCKS = 64
"""Of an event that is resident meanwhile."""
ROUNDS = 15
EVENTS_AT_ONCE = {1: 1000, 64: 60}
"""How many events a round has, by the blocks of each."""

Tokens = Sequence[int]
Hashes = Sequence[int]


class Player(Protocol):
    """An index. Raises ImportError where a version has not the names that are needed."""

    def stored(self, tokens: Tokens, hashes: Hashes) -> bytes:
        """Return a batch that says that a chain of blocks is there, from the root."""

    def removed(self, hashes: Hashes) -> bytes:
        """Return a batch that says that blocks are gone."""

    def apply(self, pod: int, payloads: Sequence[bytes]) -> None:
        """Apply batches of a pod; when it returns they are."""

    def match(self, tokens: list[int]) -> Mapping[int, int]:
        """Return how many blocks of a prompt each pod holds."""


class Kvsync:
    """Our index, with the core that KVSYNC_CORE chooses."""

    def __init__(self) -> None:
        from kvsync import core
        from kvsync.codec import encode
        from kvsync.config import core_from_env
        from kvsync.events import BlockRemoved, BlockStored, EventBatch, Source
        from kvsync.index import PrefixIndex
        from kvsync.index.lookup import Prompt, lookup
        from kvsync.testing.benchmarks.gauge import feed

        core.choose(core_from_env())
        self._encode, self._batch, self._stored, self._removed = (
            encode,
            EventBatch,
            BlockStored,
            BlockRemoved,
        )
        self._feed, self._prompt, self._lookup = feed, Prompt, lookup
        self._sources = [Source(f"pod-{number}", "m") for number in range(10)]
        self._index = PrefixIndex(BLOCK_SIZE)

    def stored(self, tokens: Tokens, hashes: Hashes) -> bytes:
        """See Player."""
        event = self._stored(
            block_hashes=tuple(hashes),
            parent_block_hash=None,
            token_ids=tuple(tokens),
            block_size=BLOCK_SIZE,
        )
        return self._encode(self._batch(ts=0.0, events=(event,), rank=0))

    def removed(self, hashes: Hashes) -> bytes:
        """See Player."""
        return self._encode(self._batch(ts=0.0, events=(self._removed(block_hashes=tuple(hashes)),), rank=0))

    def apply(self, pod: int, payloads: Sequence[bytes]) -> None:
        """See Player."""
        self._feed(self._index, self._sources[pod], payloads)

    def match(self, tokens: list[int]) -> Mapping[int, int]:
        """See Player."""
        found = self._lookup(self._index, self._prompt(model="m", tokens=tokens))
        return {int(source.pod[4:]): match.blocks for source, match in found.items()}


class DynamoTree:
    """The radix tree of ai-dynamo-runtime, through its binding."""

    def __init__(self) -> None:
        from dynamo._core import RadixTree, compute_block_hash_for_seq

        self._tree, self._hash = RadixTree(), compute_block_hash_for_seq
        self._events = 0

    def stored(self, tokens: Tokens, hashes: Hashes) -> bytes:
        """See Player."""
        own = self._hash(list(tokens), BLOCK_SIZE)
        blocks = [{"block_hash": its, "tokens_hash": of} for its, of in zip(hashes, own, strict=True)]
        return self._event({"stored": {"parent_hash": None, "blocks": blocks}})

    def removed(self, hashes: Hashes) -> bytes:
        """See Player."""
        return self._event({"removed": {"block_hashes": list(hashes)}})

    def _event(self, what: dict[str, Any]) -> bytes:
        self._events += 1
        return json.dumps({"event_id": self._events, "data": what, "dp_rank": 0}).encode()

    def apply(self, pod: int, payloads: Sequence[bytes]) -> None:
        """See Player: what is asked comes after what was applied."""
        for payload in payloads:
            self._tree.apply_event(pod, payload)
        self._tree.find_matches([0])

    def match(self, tokens: list[int]) -> Mapping[int, int]:
        """See Player."""
        scores = self._tree.find_matches(self._hash(tokens, BLOCK_SIZE)).scores
        return {worker: score for (worker, _), score in scores.items()}


PLAYERS: Mapping[str, Callable[[], Player]] = {"kvsync": Kvsync, "dynamo": DynamoTree}


class Stopwatch:
    """The CPU time of the whole process in rounds of work."""

    def __init__(self) -> None:
        self._rounds_s = list[float]()

    def time(self, work: Callable[[], object]) -> None:
        """Do the work once, after the garbage of others is collected."""
        gc.collect()
        before = time.process_time()
        work()
        self._rounds_s.append(time.process_time() - before)

    def least_us(self, operations: int) -> float:
        """Return what one of some operations took in the quickest round, in microseconds."""
        return min(self._rounds_s) / operations * 1e6


class ChainMaker:
    """Makes chains of blocks that share nothing, as long as it is asked for, from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng, self._blocks = random.Random(seed), 0  # noqa: S311 - no secret

    def chain(self, blocks: int) -> tuple[list[int], list[int]]:
        """Return the tokens and the engine's hashes of a chain."""
        drawn = array("I", self._rng.randbytes(4 * blocks * BLOCK_SIZE))
        first, self._blocks = self._blocks, self._blocks + blocks
        return [token & VOCABULARY_MASK for token in drawn], engine_hashes(first, blocks)


def engine_hashes(first: int, blocks: int) -> list[int]:
    """Return the hashes that an engine has for blocks, from the number of the first one."""
    return [number * ENGINE_FACTOR % 2**64 for number in range(first + 1, first + blocks + 1)]


def hot(player: Player, *, seed: int) -> dict[str, float]:
    """Measure events of new blocks while nothing else is there."""
    return applied(player, ChainMaker(seed))


def resident(player: Player, *, seed: int, blocks: int) -> dict[str, float]:
    """Measure what so many blocks of a pod weigh, and events while they are there and as they are evicted."""
    engine = ChainMaker(seed)
    figures = {"resident_per_block": weigh(player, engine, blocks, pods=1), **applied(player, engine)}
    chains = list(range(0, blocks - BACKGROUND_BLOCKS + 1, BACKGROUND_BLOCKS))
    random.Random(seed).shuffle(chains)  # noqa: S311 - no secret
    for length, events in EVENTS_AT_ONCE.items():
        evicted, chains = chains[: ROUNDS * events], chains[ROUNDS * events :]
        figures[f"cpu_steady_{length}"] = steady(player, engine, length, evicted, events)
    return figures


def applied(player: Player, engine: ChainMaker) -> dict[str, float]:
    """Return what events of each length cost."""
    return {f"cpu_apply_{blocks}": apply(player, engine, blocks, n) for blocks, n in EVENTS_AT_ONCE.items()}


def memory(player: Player, *, seed: int, blocks: int, pods: int) -> dict[str, float]:
    """Measure what the process grows by for each block that a pod holds, where several hold the same."""
    return {"resident_per_block": weigh(player, ChainMaker(seed), blocks, pods=pods)}


def apply(player: Player, engine: ChainMaker, blocks: int, events: int) -> float:
    """Return what an event costs that stores a chain of new blocks; between rounds they are removed again."""
    chains = [engine.chain(blocks) for _ in range(events)]
    there = [player.stored(*chain) for chain in chains]
    away = [player.removed(hashes[::-1]) for _, hashes in chains]
    asked, watch = [*chains[-1][0], 0], Stopwatch()
    for _ in range(ROUNDS):
        watch.time(lambda: player.apply(0, there))
        assert player.match(asked).get(0) == blocks, f"not found: {player.match(asked)}"
        player.apply(0, away)
    assert not any(player.match(asked).values()), f"still there: {player.match(asked)}"
    return watch.least_us(events)


def steady(player: Player, engine: ChainMaker, blocks: int, evicted: Sequence[int], events: int) -> float:
    """Return what it costs that the last blocks of a chain are evicted and as many others stored."""
    watch = Stopwatch()
    for start in range(0, len(evicted), events):
        steps = list[bytes]()
        for chain in evicted[start : start + events]:
            tokens, hashes = engine.chain(blocks)
            oldest = engine_hashes(chain, BACKGROUND_BLOCKS)[::-1][:blocks]
            steps += player.removed(oldest), player.stored(tokens, hashes)
        watch.time(partial(player.apply, 0, steps))
        assert player.match([*tokens, 0]).get(0) == blocks, f"not found: {player.match(tokens)}"
    return watch.least_us(events)


def weigh(player: Player, engine: ChainMaker, blocks: int, *, pods: int) -> float:
    """Let pods hold so many blocks together, all of them the same ones; returns bytes for each of these."""
    fill(player, engine, 10 * BACKGROUND_BLOCKS, pods)
    before = resident_bytes()
    fill(player, engine, blocks - 10 * BACKGROUND_BLOCKS, pods)
    return (resident_bytes() - before) / (blocks - 10 * BACKGROUND_BLOCKS)


def match(
    player: Player, *, seed: int, blocks: int, pods: int, resident: int, shape: str
) -> dict[str, float]:
    """Measure what each of several pods holds of a prompt, from its tokens.

    Of a `ragged` one each pod holds another part; with `holes` each lacks one block in between.
    """
    engine = ChainMaker(seed)
    fill(player, engine, resident, 1)
    tokens, hashes = engine.chain(blocks)
    parts = {pod: blocks * (pod + 1) // pods for pod in range(pods)}
    for pod, part in parts.items():
        held = part if shape == "ragged" else blocks
        player.apply(pod, [player.stored(tokens[: held * BLOCK_SIZE], hashes[:held])])
        if shape == "holes" and part < blocks:
            player.apply(pod, [player.removed([hashes[part]])])
    expected = dict.fromkeys(parts, blocks) if shape == "whole" else parts
    asked = [*tokens, 0]  # an engine computes the last token, so that the last block is not the prompt's end
    answered = player.match(asked)
    wrong = [pod for pod, part in expected.items() if answered.get(pod) != part]
    assert not wrong, f"pods {wrong} are said to hold {answered}, not {expected}"
    watch, times = Stopwatch(), 20
    for _ in range(ROUNDS):
        watch.time(lambda: [player.match(asked) for _ in range(times)])
    return {"cpu_match": watch.least_us(times)}


def fill(player: Player, engine: ChainMaker, blocks: int, pods: int) -> None:
    """Let pods hold so many blocks together, all of them the same ones."""
    for _ in range(blocks // pods // BACKGROUND_BLOCKS):
        payload = player.stored(*engine.chain(BACKGROUND_BLOCKS))
        for pod in range(pods):
            player.apply(pod, [payload])


def resident_bytes() -> int:
    """Return the resident set of this process, as Linux tells it."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


ROWS: Mapping[str, Callable[..., dict[str, float]]] = {
    "hot": hot,
    "resident": resident,
    "match": match,
    "memory": memory,
}


def main(name: str, row: str, *words: str) -> None:
    """Play a row and print what was measured, or the name that the player lacks."""
    options: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        options[key] = int(value) if value.isdigit() else value
    try:
        player = PLAYERS[name]()
    except ImportError as exc:
        print(json.dumps({"lacks": str(exc)}))
        return
    print(json.dumps(ROWS[row](player, **options)))


if __name__ == "__main__":
    # The folder of this file is on the path; ours has modules whose names others may use.
    sys.path.pop(0)
    main(*sys.argv[1:])
