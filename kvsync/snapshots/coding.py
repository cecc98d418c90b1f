"""Snapshots as bytes: a header that says what follows, and msgpack.

    header: "KVSNAP\r\n", version (u16), bytes of the body (u64), xxh3_128 of it (16 bytes), little-endian
    body:   a map; long lists of numbers are packed, 8 bytes each

One source is 16 bytes a block. Snapshots follow one another without anything in between.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgpack  # type: ignore[import-untyped]  # ships no type information
from xxhash import xxh3_128_digest

from kvsync.errors import SnapshotError
from kvsync.events import Source
from kvsync.index import Held, HeldGroup
from kvsync.index.orphans import Orphan
from kvsync.sequence import Memory
from kvsync.snapshots.snapshot import SourceSnapshot
from kvsync.sources.content import LeftOut

MAGIC = b"KVSNAP\r\n"
"""Ends as it does so that a transfer that changes the ends of lines shows."""

VERSION = 1
"""Of the body. Another one is not read: a snapshot saves a few seconds, not data."""

MAX_BYTES = 256 * 2**20
"""Of one body: eight times what two million blocks take."""

_HEADER = struct.Struct("<8sHQ16s")
HEADER_BYTES = _HEADER.size

_WRONG = (ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error, msgpack.UnpackException)
"""What reading a map that is not ours raises."""


class Header(NamedTuple):
    """What is said of a body before it."""

    length: int
    checksum: bytes


def encode(snapshot: SourceSnapshot) -> bytes:
    """Write a snapshot. Raises SnapshotError for one beyond the limit."""
    body: bytes = msgpack.packb(_body(snapshot))
    if len(body) > MAX_BYTES:
        raise SnapshotError(f"it takes {len(body)} bytes, at most {MAX_BYTES} are read again")
    return _HEADER.pack(MAGIC, VERSION, len(body), xxh3_128_digest(body)) + body


def decode(stored: bytes) -> SourceSnapshot:
    """Read one snapshot. Raises SnapshotError that says what is wrong with it."""
    header, body = read_header(stored), stored[HEADER_BYTES:]
    if len(body) > header.length:
        raise SnapshotError(f"{len(body) - header.length} bytes follow its end")
    return read_body(header, body)


def read_header(stored: bytes) -> Header:
    """Read what stands before a body. Raises SnapshotError."""
    if len(stored) < HEADER_BYTES:
        raise SnapshotError(f"it is cut off after {len(stored)} bytes")
    magic, version, length, checksum = _HEADER.unpack(stored[:HEADER_BYTES])
    if magic != MAGIC:
        raise SnapshotError(f"it does not begin as a snapshot does, but with {stored[:8]!r}")
    if version != VERSION:
        raise SnapshotError(f"it has version {version}, this release reads version {VERSION}")
    if length > MAX_BYTES:
        raise SnapshotError(f"it says that it has {length} bytes, at most {MAX_BYTES} are read")
    return Header(length, checksum)


def read_body(header: Header, body: bytes) -> SourceSnapshot:
    """Read what follows a header. Raises SnapshotError."""
    if len(body) < header.length:
        raise SnapshotError(
            f"it is cut off: {header.length - len(body)} of its {header.length} bytes are missing"
        )
    if xxh3_128_digest(body) != header.checksum:
        raise SnapshotError("its checksum is wrong: it was damaged")
    try:
        return _snapshot(msgpack.unpackb(body, use_list=False))
    except _WRONG as error:
        raise SnapshotError(f"its content is not understood: {type(error).__name__}: {error}") from error


def _body(snapshot: SourceSnapshot) -> Mapping[str, object]:
    source, memory, held = snapshot.source, snapshot.memory, snapshot.held
    return {
        "source": (source.pod, source.model, source.rank),
        "endpoints": (snapshot.endpoint, snapshot.replay_endpoint),
        "made_at": snapshot.made_at,
        "hash_seed": snapshot.hash_seed,
        "memory": (memory.last, _packed(memory.digests), memory.flaw, memory.healable),
        "left_out": snapshot.left_out,
        "block_size": held.block_size,
        "blocks": [(lora, *_columns(blocks)) for lora, blocks in held.blocks.items()],
        "copies": _columns(held.copies),
        "orphans": [
            (engine, one.parent, one.lora, one.token_ids, one.extra, one.copies)
            for engine, one in held.orphans.items()
        ],
        "group": held.group,
        "groups": [
            (number, group.block_size, group.run, *_columns(group.copies))
            for number, group in held.groups.items()
        ],
        "lora_ids": sorted(held.lora_ids),
        "flags": (held.keyed, held.reports_hits, held.is_full),
    }


def _snapshot(body: Mapping[str, Any]) -> SourceSnapshot:
    last, digests, flaw, healable = body["memory"]
    pod, model, rank = body["source"]
    endpoint, replay_endpoint = body["endpoints"]
    return SourceSnapshot(
        source=Source(pod, model, rank),
        endpoint=endpoint,
        replay_endpoint=replay_endpoint,
        made_at=float(body["made_at"]),
        hash_seed=body["hash_seed"],
        memory=Memory(last=last, digests=tuple(_unpacked(digests)), flaw=flaw, healable=healable),
        left_out=tuple(LeftOut(*each) for each in body["left_out"]),
        held=_held(body),
    )


def _held(body: Mapping[str, Any]) -> Held:
    keyed, reports_hits, is_full = body["flags"]
    return Held(
        block_size=body["block_size"],
        blocks={lora: _mapping(engines, owns) for lora, engines, owns in body["blocks"]},
        copies=_mapping(*body["copies"]),
        orphans={
            engine: Orphan(parent=parent, lora=lora, token_ids=tokens, extra=extra, copies=copies)
            for engine, parent, lora, tokens, extra, copies in body["orphans"]
        },
        group=body["group"],
        groups={
            number: HeldGroup(block_size=size, run=run, copies=_mapping(engines, counts))
            for number, size, run, engines, counts in body["groups"]
        },
        lora_ids=frozenset(body["lora_ids"]),
        keyed=keyed,
        reports_hits=reports_hits,
        is_full=is_full,
    )


def _columns(table: Mapping[int, int]) -> tuple[bytes, bytes]:
    return _packed(table), _packed(table.values())


def _mapping(keys: bytes, values: bytes) -> dict[int, int]:
    return dict(zip(_unpacked(keys), _unpacked(values), strict=True))


def _packed(numbers: Iterable[int]) -> bytes:
    whole = tuple(numbers)
    return struct.pack(f"<{len(whole)}Q", *whole)


def _unpacked(packed: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(packed) // 8}Q", packed)
