"""Bytes from a publisher to an EventBatch, and back.

Rules of reading, because engines of several years must be understood at once:

1. A batch is an array of at least `[ts, events]` or a map; what follows the rank is ignored, a missing or
   nil rank is None. A bare event is a batch of one with ts 0.
2. An event is an array read by position or a map read by name; surplus fields are ignored, missing optional
   ones are None.
3. One unreadable event is skipped with a reason; the rest of its batch survives. Bytes that are not a
   batch at all raise DecodeError.
4. A hash becomes an unsigned 64-bit integer: integers modulo 2**64, bytes and hex text by their last eight
   bytes, which is the part of the digest that vLLM sends when it sends integers.
5. Nothing that a peer declares is believed before it was compared with a limit.

Reasons: vLLM sent event arrays up to 0.23 and sends maps from 0.24 on (PR #42892), with a batch array around
them or, in one commit, a map. SGLang follows with the same scheme. Fields were added at the end of the array
from 0.9.0 (five) to 0.26 (twelve). Hashes were signed integers, then unsigned ones or 32-byte digests
(PR #23673), in one fork text. SGLang with EAGLE sends pairs of tokens.
"""

import reprlib
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, cast

import msgpack  # type: ignore[import-untyped]  # ships no type information

from kvsync import core
from kvsync.core import CLEARED
from kvsync.errors import DecodeError
from kvsync.events import (
    GPU,
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    Event,
    EventBatch,
    Skipped,
    builder,
)
from kvsync.wire import (
    CLEARED_FIELDS,
    OMITTED_WHEN_NONE,
    REMAINING_COPIES,
    REMOVED_FIELDS,
    STORED_FIELDS,
    Fields,
    by_position,
    read_counts,
    read_extra_keys,
    read_hash,
    read_hashes,
    read_optional,
    read_size,
    read_tokens,
)

END_SEQUENCE = b"\xff" * 8
"""The sequence frame that ends a replay (-1 as a signed integer)."""

MAP_FIELDS = 1_000
"""No known map has more than 16; a map costs far more memory than its bytes."""


UNKNOWN_TAG = "unknown_tag"
"""The reason for skipping an event of a kind that is not known here."""


class Encoding(Enum):
    """How a batch or an event is laid out: by position or by name."""

    ARRAY = "array"
    MAP = "map"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one message may hold; more is refused.

    The defaults are some ten times what an engine can produce in one step: vLLM schedules at most a few
    hundred thousand tokens at once, and evicts at most the blocks it then needs. With SGLang's page size 1
    each token of a prompt is a block.
    """

    payload_bytes: int = 64 * 2**20
    events: int = 100_000
    hashes: int = 500_000
    tokens: int = 4_000_000
    longest: int = field(init=False, repr=False)
    """The most that an array of any kind may hold."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "longest", max(self.events, self.hashes, self.tokens))


LIMITS = Limits()

_batch, _block_stored, _block_removed = builder(EventBatch), builder(BlockStored), builder(BlockRemoved)


def decode(payload: bytes, limits: Limits = LIMITS) -> EventBatch:
    """Read one message; events that cannot be read are in `skipped`, with reasons.

    Raises DecodeError when the payload is not a batch: too_large, malformed (not msgpack, cut short or
    beyond a limit), nesting, trailing, not_a_batch, too_many_events.
    """
    if core.compiled and len(payload) <= limits.payload_bytes:
        batch = core.compiled.decode(payload, limits.events, limits.hashes, limits.tokens)
        if batch is not None:
            return cast("EventBatch", batch)
    ts, raw_events, rank = _envelope(unpack(payload, limits))
    if len(raw_events) > limits.events:
        raise DecodeError("too_many_events", f"{len(raw_events)} in a batch, the limit is {limits.events}")
    events: list[Event] = []
    skipped: list[Skipped] = []
    for position, raw in enumerate(raw_events):
        try:
            events.append(_event(raw, limits))
        except DecodeError as exc:
            skipped.append(Skipped(exc.reason, f"event {position}: {exc}"))
    return _batch(ts, tuple(events), rank, tuple(skipped))


def encode(
    batch: EventBatch,
    *,
    batch_as: Encoding = Encoding.ARRAY,
    events_as: Encoding = Encoding.ARRAY,
    hash_width: Literal[8, 32] = 8,
) -> bytes:
    """Write a batch as vLLM 0.26 would; `skipped` events are not written.

    Hashes are integers (`hash_width` 8, vLLM's default) or digests left-padded to 32 bytes.
    """
    events = [_layout(event, events_as, hash_width) for event in batch.events]
    if batch_as is Encoding.ARRAY:
        return bytes(msgpack.packb((batch.ts, events, batch.rank)))
    outer: dict[str, object] = {"ts": batch.ts, "events": events}
    if batch.rank is not None:
        outer["data_parallel_rank"] = batch.rank
    return bytes(msgpack.packb(outer))


def decode_sequence(frame: bytes) -> int:
    """Read a sequence frame, eight bytes big-endian; raises DecodeError for any other length."""
    if len(frame) != 8:
        raise DecodeError("sequence", f"a sequence frame has 8 bytes, not {len(frame)}")
    return int.from_bytes(frame, "big")


def encode_sequence(number: int) -> bytes:
    """Write a sequence frame."""
    return number.to_bytes(8, "big")


def unpack(payload: bytes, limits: Limits = LIMITS) -> object:
    """Read msgpack as tuples, maps and plain values; raises DecodeError as `decode` does."""
    if len(payload) > limits.payload_bytes:
        raise DecodeError("too_large", f"{len(payload)} bytes, the limit is {limits.payload_bytes}")
    try:
        unpacked: object = msgpack.unpackb(
            payload, use_list=False, max_array_len=limits.longest, max_map_len=MAP_FIELDS
        )
    except (msgpack.StackError, RecursionError) as exc:
        raise DecodeError("nesting", f"payload of {len(payload)} bytes is nested too deeply") from exc
    except msgpack.ExtraData as exc:
        raise DecodeError("trailing", f"payload of {len(payload)} bytes goes on after its batch") from exc
    except (ValueError, TypeError) as exc:
        raise DecodeError("malformed", f"payload of {len(payload)} bytes: {exc}") from exc
    return unpacked


def _envelope(raw: object) -> tuple[float, tuple[object, ...], int | None]:
    ts: object = None
    events: object = None
    rank: object = None
    if isinstance(raw, dict):
        if "type" in raw:
            return 0.0, (raw,), None
        ts, events, rank = raw.get("ts"), raw.get("events"), raw.get("data_parallel_rank")
    elif isinstance(raw, tuple) and raw:
        if isinstance(raw[0], str):
            return 0.0, (raw,), None
        ts, events, rank = raw if len(raw) == 3 else (*raw[:3], None, None)[:3]
    if type(ts) not in (int, float) or not isinstance(events, tuple):
        raise DecodeError("not_a_batch", f"expected [ts, events, rank], not {reprlib.repr(raw)}")
    return float(ts), events, rank if type(rank) is int else None  # type: ignore[arg-type]  # checked above


def _event(raw: object, limits: Limits) -> Event:
    if isinstance(raw, dict):
        tag = raw.get("type")
    elif isinstance(raw, tuple) and raw:
        tag = raw[0]
    else:
        raise DecodeError("not_an_event", reprlib.repr(raw))
    if tag == "BlockStored":
        return _stored(raw, limits)
    if tag == "BlockRemoved":
        return _removed(raw, limits)
    if tag == "AllBlocksCleared":
        return CLEARED
    raise DecodeError(UNKNOWN_TAG, reprlib.repr(tag))


def _stored(raw: Fields, limits: Limits) -> BlockStored:
    (_, hashes, parent, tokens, block_size, lora_id, medium, lora_name, extra, group_idx, kind, window) = (
        by_position(raw, STORED_FIELDS)
    )
    if extra is None and parent is None and isinstance(raw, dict) and (salt := raw.get("cache_salt")):
        # SGLang sends the salt in a field of its own; vLLM as the extra key of the first block.
        extra = ((salt,), *(None for _ in hashes[1:])) if isinstance(hashes, tuple) else None
    block_hashes, size = read_hashes(hashes, limits.hashes), read_size("block_size", block_size)
    return _block_stored(
        block_hashes,
        None if parent is None else read_hash(parent),
        read_tokens(tokens, limits.tokens, len(block_hashes) * size),
        size,
        None if lora_id is None else read_optional("lora_id", lora_id, int),
        GPU if medium is None else read_optional("medium", medium, str) or GPU,
        None if lora_name is None else read_optional("lora_name", lora_name, str),
        None if extra is None else read_extra_keys(extra),
        None if group_idx is None else read_optional("group_idx", group_idx, int),
        None if kind is None else read_optional("kv_cache_spec_kind", kind, str),
        None if window is None else read_optional("kv_cache_spec_sliding_window", window, int),
    )


def _removed(raw: Fields, limits: Limits) -> BlockRemoved:
    _, raw_hashes, medium, group_idx = by_position(raw, REMOVED_FIELDS)
    hashes = read_hashes(raw_hashes, limits.hashes)
    remaining = raw.get(REMAINING_COPIES) if isinstance(raw, dict) else None
    return _block_removed(
        hashes,
        GPU if medium is None else read_optional("medium", medium, str) or GPU,
        None if group_idx is None else read_optional("group_idx", group_idx, int),
        None if remaining is None else read_counts(REMAINING_COPIES, remaining, len(hashes)),
    )


def _layout(event: Event, encoding: Encoding, hash_width: Literal[8, 32]) -> object:
    names: tuple[str, ...]
    values: tuple[object, ...]
    match event:
        case BlockStored():
            parent = event.parent_block_hash
            names = STORED_FIELDS
            values = (
                "BlockStored",
                _written(event.block_hashes, hash_width),
                None if parent is None else _written((parent,), hash_width)[0],
                event.token_ids,
                event.block_size,
                event.lora_id,
                event.medium,
                event.lora_name,
                event.extra_keys,
                event.group_idx,
                event.spec_kind,
                event.sliding_window,
            )
        case BlockRemoved():
            names = REMOVED_FIELDS
            hashes = _written(event.block_hashes, hash_width)
            values = ("BlockRemoved", hashes, event.medium, event.group_idx)
            if event.remaining_copies is not None and encoding is Encoding.MAP:
                names, values = (*names, REMAINING_COPIES), (*values, event.remaining_copies)
        case AllBlocksCleared():
            names, values = CLEARED_FIELDS, ("AllBlocksCleared",)
    if encoding is Encoding.ARRAY:
        return values
    return {
        name: value
        for name, value in zip(names, values, strict=True)
        if value is not None or name not in OMITTED_WHEN_NONE
    }


def _written(hashes: tuple[int, ...], width: Literal[8, 32]) -> tuple[int | bytes, ...]:
    return hashes if width == 8 else tuple([value.to_bytes(32, "big") for value in hashes])
