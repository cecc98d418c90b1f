"""Token ids to chained block hashes: our own names for prefixes, the same in every process.

A block's hash covers its tokens and, through its parent, everything before it. Engines' own hashes depend
on engine, version and a per-process seed, so they cannot be compared with a prompt; with one fixed seed all
gateways agree on ours.

    hash[i] = xxh3_64(tokens[i] as little-endian uint32 + extra[i], seed=hash[i - 1])
    hash[-1] = the parent, or the seed at the root

The parent enters as the seed of xxh3 because that costs 74 ns a block where hashing `parent + tokens` costs
130 ns and sha256 452 ns (measured, 16-token blocks).

Token ids in an `array("I")` are hashed from its own bytes; packing others costs as much as hashing them.
"""

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import cast, overload

import msgpack  # type: ignore[import-untyped]  # ships no type information
from xxhash import xxh3_64_intdigest

from kvsync import core
from kvsync.wire import token_packer

DEFAULT_SEED = 0
"""The root of every chain unless configured; gateways that should agree must share it."""

Extra = tuple[object, ...]
"""What tells two blocks of the same tokens apart, e.g. a cache salt: anything that msgpack can write."""

_FIRST = 8
"""Blocks of a prompt that are hashed at once; each further step doubles what is made."""

_IS_PACKED = sys.byteorder == "little" and array("I").itemsize == 4
"""Whether an array holds the very bytes that are hashed."""

_chunks = lru_cache(lambda block_size: struct.Struct(f"{4 * block_size}s").iter_unpack)


def block_hashes(
    token_ids: Sequence[int],
    block_size: int,
    *,
    seed: int = DEFAULT_SEED,
    parent: int | None = None,
    extra: Sequence[Extra | None] | None = None,
) -> list[int]:
    """Return one unsigned 64-bit hash for each full block of `block_size` tokens; the tail is left out.

    `parent` continues a chain; None starts at the root. `extra` belongs to the blocks in order; blocks
    beyond its end, None and an empty tuple all add nothing. Raises ValueError for a block size below 1 or
    a token that is not an unsigned 32-bit integer.
    """
    if block_size < 1:
        raise ValueError(f"block size must be at least 1, not {block_size}")
    value = seed if parent is None else parent
    if core.compiled and not extra:
        made = core.compiled.block_hashes(token_ids, block_size, value)
        if made is not None:
            return cast("list[int]", made)
    blocks = len(token_ids) // block_size
    if not blocks:  # also of a size that a peer made up and struct refuses
        return []
    packed = _packed(token_ids, blocks * block_size)
    if not extra:
        if blocks == 1:  # what an engine that decodes announces, for a third of the time
            return [xxh3_64_intdigest(packed, value)]
        return [value := xxh3_64_intdigest(chunk, value) for (chunk,) in _chunks(block_size)(packed)]
    chunks: list[bytes] = [chunk for (chunk,) in _chunks(block_size)(packed)]
    for i, keys in enumerate(extra[: len(chunks)]):
        if keys:
            chunks[i] += msgpack.packb(keys)
    return [value := xxh3_64_intdigest(chunk, value) for chunk in chunks]


class PromptHashes(Sequence[int]):
    """What `block_hashes` returns for a prompt, made as far as it is read.

    A prompt of which nothing is cached then costs its first blocks, however long it is. Raises ValueError as
    `block_hashes` does, for a token when its block is reached.
    """

    def __init__(
        self,
        token_ids: Sequence[int],
        block_size: int,
        *,
        seed: int = DEFAULT_SEED,
        extra: Sequence[Extra | None] | None = None,
    ) -> None:
        if block_size < 1:
            raise ValueError(f"block size must be at least 1, not {block_size}")
        self._token_ids = token_ids
        self._block_size = block_size
        self._seed = seed
        self._extra = extra
        self._made: list[int] = []

    def __len__(self) -> int:
        return len(self._token_ids) // self._block_size

    def __iter__(self) -> Iterator[int]:
        read = 0
        while read < len(self):
            if read == len(self._made):
                self._make(max(_FIRST, 2 * read))
            made = self._made[read:]
            yield from made
            read += len(made)

    @overload
    def __getitem__(self, position: int) -> int: ...
    @overload
    def __getitem__(self, position: slice) -> list[int]: ...
    def __getitem__(self, position: int | slice) -> int | list[int]:
        if isinstance(position, slice) or not 0 <= position < len(self._made):
            self._make(len(self))
        return self._made[position]

    @property
    def chain(self) -> tuple[list[int], Sequence[int], int, int]:
        """What these hashes follow from: those made so far, with them all that have extra keys; token ids;
        block size; and seed."""
        if self._extra and len(self._made) < min(len(self._extra), len(self)):
            self._make(len(self._extra))
        return self._made, self._token_ids, self._block_size, self._seed

    def _make(self, until: int) -> None:
        """Hash on until so many blocks are made, or all."""
        made, size = self._made, self._block_size
        first = len(made)
        made += block_hashes(
            self._token_ids[first * size : until * size],
            size,
            seed=self._seed,
            parent=made[-1] if made else None,
            extra=self._extra[first:until] if self._extra else None,
        )


def _packed(token_ids: Sequence[int], count: int) -> bytes | memoryview:
    """Return the first `count` token ids as little-endian uint32."""
    if type(token_ids) is array and token_ids.typecode == "I" and _IS_PACKED:
        return memoryview(token_ids)[:count]
    first = token_ids if count == len(token_ids) else token_ids[:count]
    try:
        packed: bytes = token_packer(count)(*first)
    except struct.error as exc:
        raise ValueError(f"token ids must be unsigned 32-bit integers: {exc}") from exc
    return packed
