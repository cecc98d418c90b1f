"""The codec against any value: what is written is read again, and nothing else gets out than DecodeError."""

import contextlib

import msgpack  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from kvsync.codec import Encoding, decode, decode_sequence, encode
from kvsync.errors import DecodeError
from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, EventBatch

quick = settings(deadline=None, max_examples=100, database=None)

hashes = st.integers(0, 2**64 - 1)
numbers = st.integers(0, 2**31)
names = st.text(min_size=1, max_size=8)
extra_keys = st.tuples(names | numbers | st.binary(max_size=4) | st.tuples(names, numbers))
events = st.one_of(
    st.builds(
        BlockStored,
        block_hashes=st.lists(hashes, max_size=4).map(tuple),
        parent_block_hash=st.none() | hashes,
        token_ids=st.lists(st.integers(0, 2**32 - 1), max_size=8).map(tuple),
        block_size=st.integers(0, 2**16),
        lora_id=st.none() | numbers,
        medium=names,
        lora_name=st.none() | names,
        extra_keys=st.none() | st.lists(st.none() | extra_keys, max_size=4).map(tuple),
        group_idx=st.none() | numbers,
        spec_kind=st.none() | names,
        sliding_window=st.none() | numbers,
    ),
    st.builds(
        BlockRemoved,
        block_hashes=st.lists(hashes, max_size=4).map(tuple),
        medium=names,
        group_idx=st.none() | numbers,
    ),
    st.just(AllBlocksCleared()),
)
batches = st.builds(
    EventBatch,
    ts=st.floats(allow_nan=False),
    events=st.lists(events, max_size=4).map(tuple),
    rank=st.none() | numbers,
    skipped=st.just(()),
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=9)
    | st.sampled_from(["BlockStored", "BlockRemoved", "AllBlocksCleared", "type", "events", ""]),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@quick
@given(batch=batches, batch_as=..., events_as=..., wide=st.booleans())
def test_what_is_written_is_read_again(
    batch: EventBatch, batch_as: Encoding, events_as: Encoding, wide: bool
) -> None:
    """Every batch survives every combination of encodings and hash widths."""
    payload = encode(batch, batch_as=batch_as, events_as=events_as, hash_width=32 if wide else 8)

    assert decode(payload) == batch


@quick
@given(value=values, wrap=st.booleans())
def test_any_msgpack_is_read_or_refused(value: object, wrap: bool) -> None:
    """A value of any shape, as batch or as event, raises nothing but DecodeError."""
    payload = msgpack.packb([1.0, [value]] if wrap else value)
    try:
        batch = decode(payload)
    except DecodeError:
        assert not wrap
    else:
        assert all(skip.reason and skip.detail for skip in batch.skipped)


@quick
@given(payload=st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    """Random bytes raise nothing but DecodeError."""
    for read in (decode, decode_sequence):
        with contextlib.suppress(DecodeError):
            read(payload)


@quick
@given(batch=batches, data=st.data())
def test_damaged_batches_are_read_or_refused(batch: EventBatch, data: st.DataObject) -> None:
    """A valid payload with a few bytes changed or cut raises nothing but DecodeError."""
    payload = bytearray(encode(batch, events_as=data.draw(st.sampled_from(Encoding))))
    for position in data.draw(st.lists(st.integers(0, len(payload) - 1), max_size=3)):
        payload[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        decode(bytes(payload[: data.draw(st.integers(0, len(payload)))]))
