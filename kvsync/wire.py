"""Fields of an event on the wire: their names, their positions, and their values once checked.

Every reader takes what msgpack made of a field and returns the value, or raises DecodeError with the reason
bad_field, bad_hash, bad_tokens, too_many_hashes or too_many_tokens.
"""

import reprlib
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar

from kvsync.errors import DecodeError

T = TypeVar("T")

STORED_FIELDS = (
    "type",
    "block_hashes",
    "parent_block_hash",
    "token_ids",
    "block_size",
    "lora_id",
    "medium",
    "lora_name",
    "extra_keys",
    "group_idx",
    "kv_cache_spec_kind",
    "kv_cache_spec_sliding_window",
)
REMOVED_FIELDS = ("type", "block_hashes", "medium", "group_idx")
CLEARED_FIELDS = ("type",)
REMAINING_COPIES = "remaining_copy_counts"
"""An open proposal for removals (vLLM #48933), which only ever came in maps: it has no position."""

OMITTED_WHEN_NONE = frozenset(STORED_FIELDS[8:])
"""Fields with a default, which vLLM leaves out of its maps; the older ones it writes as nil."""

UINT64 = 2**64 - 1

EXTRA_DEPTH = 4
"""vLLM nests once (multi-modal hash and offset); without a bound a value could be too deep to hash."""

Fields = Mapping[str, object] | tuple[object, ...]
"""An event as msgpack read it: by name or by position."""


token_packer = lru_cache(lambda count: struct.Struct(f"<{count}I").pack)
"""For a number of token ids, what makes bytes of them (little-endian, 4 each) or raises struct.error: the
fastest check of type and range there is, 3 ns a token."""


def by_position(fields: Fields, names: tuple[str, ...]) -> tuple[object, ...]:
    """Return one value per name, None where the event has none; surplus is left out."""
    if isinstance(fields, tuple):
        missing = len(names) - len(fields)
        return fields if not missing else fields[: len(names)] + (None,) * missing
    return tuple(map(fields.get, names))


def read_optional(name: str, raw: object, kind: type[T]) -> T | None:
    """Return a field that may be nil; a bool does not count as an int."""
    if raw is None or type(raw) is kind:
        return raw
    raise DecodeError("bad_field", f"{name} is {reprlib.repr(raw)}")


def read_size(name: str, raw: object) -> int:
    """Return a field that counts something."""
    if type(raw) is not int or raw < 0:
        raise DecodeError("bad_field", f"{name} is {reprlib.repr(raw)}")
    return raw


def read_counts(name: str, raw: object, length: int) -> tuple[int, ...]:
    """Return a field of `length` numbers that each count something."""
    if not isinstance(raw, tuple) or len(raw) != length:
        raise DecodeError("bad_field", f"{name} is {reprlib.repr(raw)}, not {length} numbers")
    return tuple([read_size(name, value) for value in raw])


def read_hashes(raw: object, limit: int) -> tuple[int, ...]:
    """Return block hashes as unsigned 64-bit integers."""
    if not isinstance(raw, tuple):
        raise DecodeError("bad_field", f"block_hashes is {reprlib.repr(raw)}")
    if len(raw) > limit:
        raise DecodeError("too_many_hashes", f"{len(raw)} in an event, the limit is {limit}")
    if len(raw) == 1:  # most events of an engine that decodes, and half of what they cost here
        return (read_hash(raw[0]),)
    return tuple([value & UINT64 if type(value) is int else read_hash(value) for value in raw])


def read_hash(raw: object) -> int:
    """Return an integer modulo 2**64, or the last eight bytes of bytes or hex text."""
    if type(raw) is int:
        return raw & UINT64
    try:
        digest = bytes.fromhex(raw.removeprefix("0x")) if isinstance(raw, str) else raw
    except ValueError as exc:
        raise DecodeError("bad_hash", f"{reprlib.repr(raw)}: {exc}") from exc
    if not isinstance(digest, bytes) or not digest:
        raise DecodeError("bad_hash", reprlib.repr(raw))
    return int.from_bytes(digest[-8:], "big")


def read_tokens(raw: object, limit: int, expected: int) -> tuple[int, ...]:
    """Return flat token ids, each an unsigned 32-bit integer; of pairs, the first of each.

    SGLang with EAGLE sends each token with the one after it, because its cache is keyed by both. What looks
    like pairs counts as that when there are as many as `expected` tokens.
    """
    if not isinstance(raw, tuple):
        raise DecodeError("bad_tokens", f"token_ids is {reprlib.repr(raw)}")
    if len(raw) > limit:
        raise DecodeError("too_many_tokens", f"{len(raw)} in an event, the limit is {limit}")
    try:
        are_pairs = len(raw) == expected > 0 and type(raw[0]) is tuple
        tokens = tuple([first for first, _ in raw]) if are_pairs else raw
        token_packer(len(tokens))(*tokens)
    except (TypeError, ValueError, struct.error) as exc:
        raise DecodeError("bad_tokens", f"token_ids {reprlib.repr(raw)}: {exc}") from exc
    return tokens


def read_extra_keys(raw: object) -> tuple[tuple[object, ...] | None, ...] | None:
    """Return, per block, nil or a tuple of plain values."""
    if raw is None:
        return None
    if not isinstance(raw, tuple) or not all(
        keys is None or (isinstance(keys, tuple) and _is_plain(keys, EXTRA_DEPTH)) for keys in raw
    ):
        raise DecodeError("bad_field", f"extra_keys is {reprlib.repr(raw)}")
    return raw


def _is_plain(value: object, depth: int) -> bool:
    if type(value) is tuple:
        return depth > 0 and all(_is_plain(item, depth - 1) for item in value)
    return value is None or isinstance(value, str | int | float | bytes)
