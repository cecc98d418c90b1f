"""What gateways and an indexer say to each other on a local socket, as bytes. Does no input or output.

    message:  length of what follows (u32, little-endian), then a msgpack array
    question: number, kind, what is asked                     (gateway to indexer; numbers from 1)
    answer:   number, content  or  number, nil, what is wrong (indexer to gateway)
    news:     0, kind, content                                (either way, unasked)

Both ends are of one release and on one machine: `hello` says which protocol is spoken, another one is
refused, and token ids travel as the machine has them in memory, 4 bytes each.
"""

import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import msgpack  # type: ignore[import-untyped]  # ships no type information

from kvsync.errors import IndexerError
from kvsync.events import Source
from kvsync.index import Digest, Match, Prompt
from kvsync.indexer.values import Matches, Picture, Place, PodStanding, SourceFacts, Version
from kvsync.sequence import Counters, State
from kvsync.sources.status import SourceStatus

PROTOCOL = 1

NEWS = 0
"""In place of a question's number."""

MAX_BYTES = 512 * 2**20
"""Of one message: a snapshot is the longest, 256 MiB at most."""

_LENGTH = struct.Struct("<I")
LENGTH_BYTES = _LENGTH.size

Row = Sequence[Any]


def message(*parts: object) -> bytes:
    """Write one message."""
    body: bytes = msgpack.packb(parts)
    return _LENGTH.pack(len(body)) + body


def length_of(head: bytes | bytearray) -> int:
    """Return how many bytes follow a message's first 4. Raises IndexerError for more than is ever sent."""
    (length,) = _LENGTH.unpack_from(head)
    if length > MAX_BYTES:
        raise IndexerError(f"a message of {length} bytes was announced: the peer speaks another language")
    return int(length)


def read(body: bytes | bytearray | memoryview) -> Row:
    """Read what follows a message's length. Raises IndexerError."""
    try:
        parts = msgpack.unpackb(body, use_list=False, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise IndexerError(f"a message is not understood: {error}") from error
    if not isinstance(parts, tuple) or len(parts) < 2 or not isinstance(parts[0], int):
        raise IndexerError(f"a message has no number: {parts!r:.100}")
    return parts


class Messages:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Row]:
        """Give the messages that this chunk completes. Raises IndexerError for what is none."""
        if not self._rest and len(chunk) >= LENGTH_BYTES and len(chunk) == LENGTH_BYTES + length_of(chunk):
            yield read(memoryview(chunk)[LENGTH_BYTES:])  # nearly always: one, whole
            return
        self._rest += chunk
        while len(self._rest) >= LENGTH_BYTES:
            end = LENGTH_BYTES + length_of(self._rest)
            if len(self._rest) < end:
                return
            body = bytes(self._rest[LENGTH_BYTES:end])
            del self._rest[:end]
            yield read(body)


def prompt_row(prompt: Prompt) -> Row:
    """Write a prompt. Raises ValueError, OverflowError and TypeError for what are no token ids."""
    tokens = prompt.tokens
    if type(tokens) is not array or tokens.typecode != "I":
        tokens = array("I", tokens)
    return (prompt.model, prompt.lora, prompt.salt, tokens.tobytes(), prompt.lora_ids)


def prompt_of(row: Row) -> Prompt:
    """Read a prompt. Raises ValueError and TypeError."""
    model, lora, salt, packed, lora_ids = row
    tokens = array("I")
    tokens.frombytes(packed)
    return Prompt(model=model, lora=lora, salt=salt, tokens=tokens, lora_ids=lora_ids)


def answer_row(answer: Matches) -> Row:
    """Write an answer."""
    return (answer.version.changes, [(*source, *match) for source, match in answer.matched.items()])


def answer_of(row: Row, run: str) -> Matches:
    """Read an answer of an indexer's run."""
    changes, matched = row
    return Matches({Source(*each[:3]): Match(*each[3:]) for each in matched}, Version(run, changes))


def standing_rows(standings: Mapping[str, PodStanding | None]) -> Mapping[str, Row | None]:
    """Write standings; None is that of a pod that is gone."""
    return {pod: its and (its.state.value, its.emptied, its.removals) for pod, its in standings.items()}


def standings_of(rows: Mapping[str, Row | None]) -> dict[str, PodStanding | None]:
    """Read standings."""
    return {
        pod: PodStanding(_STATES[its[0]], its[1], its[2]) if its is not None else None
        for pod, its in rows.items()
    }


_STATES = {state.value: state for state in State}


def load_rows(running: Mapping[Place, int]) -> Sequence[Row]:
    """Write how many requests run where."""
    return [(*place, count) for place, count in running.items()]


def load_of(rows: Sequence[Row]) -> Counter[Place]:
    """Read how many requests run where. Raises ValueError and TypeError."""
    return Counter({(pod, rank): int(count) for pod, rank, count in rows})


def picture_row(picture: Picture) -> Row:
    """Write a picture."""
    return (
        picture.version,
        picture.hash_seed,
        [facts_row(facts) for facts in picture.sources],
        (picture.blocks_total, picture.bytes_estimated, picture.holders),
        picture.block_sizes,
        [(*key, count) for key, count in picture.events.items()],
        [(*key, count) for key, count in picture.applied.items()],
        dict(picture.snapshots),
    )


def picture_of(row: Row) -> Picture:
    """Read a picture."""
    version, seed, sources, (blocks, taken, holders), sizes, events, applied, snapshots = row
    return Picture(
        version=Version(*version),
        hash_seed=seed,
        sources=tuple(map(facts_of, sources)),
        blocks_total=blocks,
        bytes_estimated=taken,
        holders=holders,
        block_sizes=sizes,
        events=_counts(events),
        applied=_counts(applied),
        snapshots=snapshots,
    )


def _counts(rows: Iterable[Row]) -> dict[tuple[str, str], int]:
    return {(pod, label): count for pod, label, count in rows}


def facts_row(facts: SourceFacts) -> Row:
    """Write what is known of a source."""
    return (
        _status_row(facts.status),
        (facts.blocks, facts.block_size, facts.orphans),
        facts.left_out,
        (facts.digest.blocks, facts.digest.xor),
        sorted(facts.lora_ids),
    )


def facts_of(row: Row) -> SourceFacts:
    """Read what is known of a source."""
    status, (blocks, block_size, orphans), left_out, digest, lora_ids = row
    return SourceFacts(
        status=_status_of(status),
        blocks=blocks,
        block_size=block_size,
        orphans=orphans,
        left_out=left_out,
        digest=Digest(*digest),
        lora_ids=frozenset(lora_ids),
    )


_PLAIN = tuple(
    each.name for each in fields(SourceStatus) if each.name not in ("source", "state", "counters", "errors")
)
_COUNTERS = tuple(each.name for each in fields(Counters))


def _status_row(status: SourceStatus) -> Row:
    return (
        status.source,
        status.state.value,
        [getattr(status.counters, name) for name in _COUNTERS],
        dict(status.errors),
        [getattr(status, name) for name in _PLAIN],
    )


def _status_of(row: Row) -> SourceStatus:
    source, state, counters, errors, plain = row
    return SourceStatus(
        source=Source(*source),
        state=_STATES[state],
        counters=Counters(**dict(zip(_COUNTERS, counters, strict=True))),
        errors=errors,
        **dict(zip(_PLAIN, plain, strict=True)),
    )
