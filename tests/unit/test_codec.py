"""Event batches on the wire: captured bytes of several engine versions, tolerance, and hostile input."""

import struct
from dataclasses import FrozenInstanceError, fields

import msgpack  # type: ignore[import-untyped]
import pytest

from kvsync.codec import END_SEQUENCE, Encoding, Limits, decode, decode_sequence, encode, encode_sequence
from kvsync.errors import DecodeError
from kvsync.events import AllBlocksCleared, BlockRemoved, BlockStored, EventBatch, Skipped

HASH = 15760518052499183552
MINUS_FIVE = 2**64 - 5
DIGEST_TAIL = 0x18191A1B1C1D1E1F

PLAIN = BlockStored(
    block_hashes=(123, MINUS_FIVE), parent_block_hash=None, token_ids=(1, 2, 3, 4), block_size=2
)
FULL = BlockStored(
    block_hashes=(HASH,),
    parent_block_hash=None,
    token_ids=(1, 2),
    block_size=2,
    medium="GPU",
    extra_keys=(None,),
    group_idx=0,
    spec_kind="full_attention",
)
REMOVED = BlockRemoved(block_hashes=(HASH,), medium="GPU")

GOLDEN = {
    "array without rank": (
        "93cb3ff80000000000009196ab426c6f636b53746f726564927bfbc0940102030402c0c0",
        EventBatch(ts=1.5, events=(PLAIN,), rank=None),
    ),
    "array with rank": (
        "93cb3ff80000000000009196ab426c6f636b53746f726564927bfbc0940102030402c000",
        EventBatch(ts=1.5, events=(PLAIN,), rank=0),
    ),
    "medium and unsigned hash": (
        "93cb3ff80000000000009197ab426c6f636b53746f72656491cfdab89baa7b5857c00792010202c0a347505501",
        EventBatch(
            ts=1.5,
            events=(BlockStored(block_hashes=(HASH,), parent_block_hash=7, token_ids=(1, 2), block_size=2),),
            rank=1,
        ),
    ),
    "digests and LoRA name": (
        (
            "93cb3ff80000000000009198ab426c6f636b53746f72656491c420000102030405060708090a0b0c0d0e0f10111213141516"
            "1718191a1b1c1d1e1fc420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f9201020203a347"
            "5055a2616400"
        ),
        EventBatch(
            ts=1.5,
            events=(
                BlockStored(
                    block_hashes=(DIGEST_TAIL,),
                    parent_block_hash=DIGEST_TAIL,
                    token_ids=(1, 2),
                    block_size=2,
                    lora_id=3,
                    lora_name="ad",
                ),
            ),
            rank=0,
        ),
    ),
    "array up to the group": (
        "93cb3ff8000000000000919aab426c6f636b53746f72656491cfdab89baa7b5857c0c092010202c0a3475055c0c00000",
        EventBatch(
            ts=1.5,
            events=(
                BlockStored(
                    block_hashes=(HASH,), parent_block_hash=None, token_ids=(1, 2), block_size=2, group_idx=0
                ),
            ),
            rank=0,
        ),
    ),
    "map": (
        (
            "93cb3ff8000000000000918ba474797065ab426c6f636b53746f726564ac626c6f636b5f68617368657391cfdab89baa7b58"
            "57c0b1706172656e745f626c6f636b5f68617368c0a9746f6b656e5f696473920102aa626c6f636b5f73697a6502a76c6f72"
            "615f6964c0a66d656469756da3475055a96c6f72615f6e616d65c0aa65787472615f6b65797391c0a967726f75705f696478"
            "00b26b765f63616368655f737065635f6b696e64ae66756c6c5f617474656e74696f6e00"
        ),
        EventBatch(ts=1.5, events=(FULL,), rank=0),
    ),
    "maps of removal and clearing": (
        (
            "93cb3ff80000000000009283a474797065ac426c6f636b52656d6f766564ac626c6f636b5f68617368657391cfdab89baa7b"
            "5857c0a66d656469756da347505581a474797065b0416c6c426c6f636b73436c656172656400"
        ),
        EventBatch(ts=1.5, events=(REMOVED, AllBlocksCleared()), rank=0),
    ),
    "map around maps": (
        (
            "83a27473cb3ff8000000000000a66576656e74739283a474797065ac426c6f636b52656d6f766564ac626c6f636b5f686173"
            "68657391cfdab89baa7b5857c0a66d656469756da347505581a474797065b0416c6c426c6f636b73436c6561726564b26461"
            "74615f706172616c6c656c5f72616e6b00"
        ),
        EventBatch(ts=1.5, events=(REMOVED, AllBlocksCleared()), rank=0),
    ),
    "float without fraction": ("93cb3ff000000000000090c0", EventBatch(ts=1.0, events=(), rank=None)),
}

pytestmark = pytest.mark.usefixtures("either_core")

STORED = ["BlockStored", [1], None, [1, 2], 2]


def pack(value: object) -> bytes:
    """Write any value as msgpack."""
    return bytes(msgpack.packb(value))


def skipped(event: object) -> tuple[Skipped, ...]:
    """Return what was skipped of a batch that holds the event and a clearing, which must survive."""
    batch = decode(pack([1.0, [event, ["AllBlocksCleared"]], 0]))
    assert batch.events == (AllBlocksCleared(),)
    return batch.skipped


@pytest.mark.parametrize(("payload", "batch"), GOLDEN.values(), ids=GOLDEN.keys())
def test_captured_bytes_are_understood(payload: str, batch: EventBatch) -> None:
    """Bytes of every engine generation decode to what the engine meant."""
    assert decode(bytes.fromhex(payload)) == batch


@pytest.mark.parametrize("name", ["map", "maps of removal and clearing"])
def test_what_is_read_is_as_frozen_as_what_is_built(name: str) -> None:
    """Values off the wire are of the same classes as those that are built, and cannot be changed."""
    payload, built = GOLDEN[name]
    batch = decode(bytes.fromhex(payload))

    assert hash(batch) == hash(built)
    for read, expected in zip((batch, *batch.events), (built, *built.events), strict=True):
        assert type(read) is type(expected)
        for field in fields(read):
            with pytest.raises(FrozenInstanceError):
                setattr(read, field.name, None)


@pytest.mark.parametrize(
    ("name", "batch_as"),
    [
        ("map", Encoding.ARRAY),
        ("maps of removal and clearing", Encoding.ARRAY),
        ("map around maps", Encoding.MAP),
    ],
)
def test_maps_are_written_as_vllm_writes_them(name: str, batch_as: Encoding) -> None:
    """The encoder reproduces captured maps byte for byte."""
    payload, batch = GOLDEN[name]

    assert encode(batch, batch_as=batch_as, events_as=Encoding.MAP).hex() == payload


def test_arrays_are_written_with_all_positions() -> None:
    """The array form holds the twelve positional fields of vLLM 0.26, trailing nils too."""
    batch = EventBatch(ts=1.5, events=(FULL, REMOVED, AllBlocksCleared()), rank=2)

    assert msgpack.unpackb(encode(batch)) == [
        1.5,
        [
            [
                "BlockStored", [HASH], None, [1, 2], 2, None,
                "GPU", None, [None], 0, "full_attention", None,
            ],
            ["BlockRemoved", [HASH], "GPU", None],
            ["AllBlocksCleared"],
        ],
        2,
    ]  # fmt: skip


def test_digests_are_written_with_the_hash_at_their_end() -> None:
    """With a hash width of 32 a hash is the last eight bytes of a digest."""
    event = BlockStored(block_hashes=(5,), parent_block_hash=6, token_ids=(1,), block_size=1)
    payload = encode(EventBatch(ts=1.0, events=(event, BlockRemoved(block_hashes=(7,)))), hash_width=32)

    written = msgpack.unpackb(payload)[1]
    assert written[0][1:3] == [[bytes(31) + b"\x05"], bytes(31) + b"\x06"]
    assert written[1][1] == [bytes(31) + b"\x07"]


@pytest.mark.parametrize(
    ("payload", "batch"),
    [
        pytest.param([1, []], EventBatch(ts=1.0, events=()), id="integer timestamp, no rank"),
        pytest.param([1.0, [], 3, "more", 4], EventBatch(ts=1.0, events=(), rank=3), id="surplus elements"),
        pytest.param([1.0, [], "one"], EventBatch(ts=1.0, events=()), id="rank of another type"),
        pytest.param({"ts": 2, "events": [], "new": 1}, EventBatch(ts=2.0, events=()), id="surplus key"),
        pytest.param(
            ["AllBlocksCleared"], EventBatch(ts=0.0, events=(AllBlocksCleared(),)), id="bare event array"
        ),
        pytest.param(
            {"type": "AllBlocksCleared"},
            EventBatch(ts=0.0, events=(AllBlocksCleared(),)),
            id="bare event map",
        ),
    ],
)
def test_batches_of_unusual_shape_are_understood(payload: object, batch: EventBatch) -> None:
    """Missing, surplus and nil elements do not cost the batch."""
    assert decode(pack(payload)) == batch


def test_surplus_and_missing_fields_of_events_are_tolerated() -> None:
    """A newer event has more fields and an older one fewer; both are read."""
    expected = BlockStored(block_hashes=(1,), parent_block_hash=None, token_ids=(1, 2), block_size=2)
    newer = [*STORED, None, "GPU", None, None, None, None, None, "LOCAL", "a session"]
    named = {
        "type": "BlockStored",
        "block_hashes": [1],
        "token_ids": [1, 2],
        "block_size": 2,
        "locality": "LOCAL",
    }

    assert decode(pack([1.0, [STORED, newer, named]])).events == (expected, expected, expected)


def test_of_a_field_that_comes_twice_the_last_counts() -> None:
    """As in any map of msgpack."""
    fields = [("type", "BlockRemoved"), ("block_hashes", [1]), ("medium", "CPU"), ("medium", "DISK")]
    event = b"\x84" + b"".join(pack(name) + pack(value) for name, value in fields)

    assert decode(b"\x92" + pack(1.0) + b"\x91" + event).events == (
        BlockRemoved(block_hashes=(1,), medium="DISK"),
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(0, 0, id="zero"),
        pytest.param(-1, 2**64 - 1, id="signed"),
        pytest.param(2**64 - 1, 2**64 - 1, id="unsigned"),
        pytest.param(bytes(range(32)), DIGEST_TAIL, id="digest"),
        pytest.param(b"\x01\x02", 0x0102, id="short bytes"),
        pytest.param("00000000000000ff", 255, id="hex text"),
        pytest.param("0x" + bytes(range(32)).hex(), DIGEST_TAIL, id="hex digest"),
    ],
)
def test_hashes_become_unsigned_integers(raw: object, expected: int) -> None:
    """Every form of a hash is normalised, as own hash, as parent and in a removal."""
    events = [["BlockStored", [raw], raw, [1], 1], ["BlockRemoved", [raw]]]

    assert decode(pack([1.0, events])).events == (
        BlockStored(block_hashes=(expected,), parent_block_hash=expected, token_ids=(1,), block_size=1),
        BlockRemoved(block_hashes=(expected,)),
    )


def test_medium_is_kept_and_gpu_when_absent() -> None:
    """An event without a medium speaks of the GPU."""
    events = [["BlockRemoved", [1]], ["BlockRemoved", [1], None], ["BlockRemoved", [1], "CPU", 2]]

    assert decode(pack([1.0, events])).events == (
        BlockRemoved(block_hashes=(1,), medium="GPU"),
        BlockRemoved(block_hashes=(1,), medium="GPU"),
        BlockRemoved(block_hashes=(1,), medium="CPU", group_idx=2),
    )


def test_remaining_copies_are_read_and_written_in_maps() -> None:
    """An engine may say how many copies of a removed block are left; in arrays that has no place."""
    event = BlockRemoved(block_hashes=(1, 2), remaining_copies=(0, 3))
    batch = EventBatch(ts=1.0, events=(event,))
    raw = {"type": "BlockRemoved", "block_hashes": [1, 2], "remaining_copy_counts": [0, 3]}

    assert decode(pack([1.0, [raw]])).events == (event,)
    assert decode(encode(batch, events_as=Encoding.MAP)) == batch
    assert decode(encode(batch)).events == (BlockRemoved(block_hashes=(1, 2)),)


@pytest.mark.parametrize("counts", [[1], [1, -1], [1, "1"], 2], ids=["short", "negative", "text", "number"])
def test_remaining_copies_must_be_a_number_for_each_block(counts: object) -> None:
    """Anything else makes the event unreadable, and its batch survives."""
    raw = {"type": "BlockRemoved", "block_hashes": [1, 2], "remaining_copy_counts": counts}

    assert [skip.reason for skip in skipped(raw)] == ["bad_field"]


def test_placeholder_without_tokens_is_read() -> None:
    """An off-loading connector announces hashes alone, with block size 0."""
    assert decode(pack([1.0, [["BlockStored", [1], None, [], 0]]])).events == (
        BlockStored(block_hashes=(1,), parent_block_hash=None, token_ids=(), block_size=0),
    )


def test_extra_keys_are_kept_per_block() -> None:
    """Salts and multi-modal ids reach the event as tuples."""
    extra = [None, ["salt"], [["image", 3], b"\x00"]]
    event = ["BlockStored", [1, 2, 3], None, [1, 2, 3], 1, None, None, None, extra]

    (stored,) = decode(pack([1.0, [event]])).events
    assert isinstance(stored, BlockStored)
    assert stored.extra_keys == (None, ("salt",), (("image", 3), b"\x00"))


@pytest.mark.parametrize(("parent", "expected"), [(None, (("salt",), None)), (9, None)])
def test_salt_beside_the_tokens_belongs_to_the_first_block_of_a_prompt(
    parent: int | None, expected: object
) -> None:
    """SGLang names the cache salt as a field of its own; it tells the chain apart at its root."""
    event = {
        "type": "BlockStored",
        "block_hashes": [1, 2],
        "parent_block_hash": parent,
        "token_ids": [1, 2],
        "block_size": 1,
        "cache_salt": "salt",
    }

    (stored,) = decode(pack([1.0, [event]])).events
    assert isinstance(stored, BlockStored)
    assert stored.extra_keys == expected


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        pytest.param(None, "not_an_event", id="nil"),
        pytest.param([], "not_an_event", id="empty array"),
        pytest.param(7, "not_an_event", id="integer"),
        pytest.param(["BlockInactive", [1]], "unknown_tag", id="tag of the future"),
        pytest.param({"block_hashes": [1]}, "unknown_tag", id="map without a type"),
        pytest.param(["BlockStored"], "bad_field", id="only a tag"),
        pytest.param(["BlockStored", 1, None, [1], 1], "bad_field", id="hashes no list"),
        pytest.param(["BlockStored", [None], None, [1], 1], "bad_hash", id="hash nil"),
        pytest.param(["BlockStored", [True], None, [1], 1], "bad_hash", id="hash bool"),
        pytest.param(["BlockStored", [1.0], None, [1], 1], "bad_hash", id="hash float"),
        pytest.param(["BlockStored", [b""], None, [1], 1], "bad_hash", id="hash empty"),
        pytest.param(["BlockStored", ["xyz"], None, [1], 1], "bad_hash", id="hash no hex"),
        pytest.param(["BlockStored", [1], [2], [1], 1], "bad_hash", id="parent a list"),
        pytest.param(["BlockStored", [1], None, None, 1], "bad_tokens", id="tokens nil"),
        pytest.param(["BlockStored", [1], None, [[1, 2]], 2], "bad_tokens", id="tokens nested"),
        pytest.param(["BlockStored", [1], None, [[1, 2], [3]], 2], "bad_tokens", id="half a pair"),
        pytest.param(["BlockStored", [1], None, [[1, 2], 3], 2], "bad_tokens", id="pair and token"),
        pytest.param(["BlockStored", [1], None, [["a", 2], [3, 4]], 2], "bad_tokens", id="pair of text"),
        pytest.param(["BlockStored", [1], None, [-1], 1], "bad_tokens", id="token negative"),
        pytest.param(["BlockStored", [1], None, [2**32], 1], "bad_tokens", id="token too large"),
        pytest.param(["BlockStored", [1], None, [1.5], 1], "bad_tokens", id="token fractional"),
        pytest.param(["BlockStored", [1], None, [1], None], "bad_field", id="block size nil"),
        pytest.param(["BlockStored", [1], None, [1], -1], "bad_field", id="block size negative"),
        pytest.param([*STORED, "adapter"], "bad_field", id="lora id text"),
        pytest.param([*STORED, None, 1], "bad_field", id="medium integer"),
        pytest.param([*STORED, None, None, None, ["salt"]], "bad_field", id="extra key no list"),
        pytest.param([*STORED, None, None, None, [[{}]]], "bad_field", id="extra key a map"),
        pytest.param([*STORED, None, None, None, [[[[[[[1]]]]]]]], "bad_field", id="extra key deep"),
        pytest.param(["BlockRemoved", None], "bad_field", id="removal of nothing"),
    ],
)
def test_unreadable_event_is_skipped_with_its_reason(event: object, reason: str) -> None:
    """One bad event does not cost its batch and says why it was left out."""
    (skip,) = skipped(event)

    assert skip.reason == reason
    assert skip.detail.startswith("event 0: ")
    assert len(skip.detail) < 200


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b"", "malformed", id="nothing"),
        pytest.param(b"\xc1", "malformed", id="byte without a meaning"),
        pytest.param(bytes.fromhex(GOLDEN["map"][0])[:-9], "malformed", id="cut short"),
        pytest.param(b"\x92\xcb", "malformed", id="cut inside the timestamp"),
        pytest.param(bytes.fromhex(GOLDEN["map"][0]) + b"\x00", "trailing", id="one byte more"),
        pytest.param(pack([1.0, []]) * 2, "trailing", id="two batches"),
        pytest.param(b"\x91\xa1\xff", "malformed", id="text no utf-8"),
        pytest.param(b"\x81\x91\x01\x01", "malformed", id="map keyed by an array"),
        pytest.param(b"\xd6\xff", "malformed", id="extension cut short"),
        pytest.param(b"\xdd\xff\xff\xff\xff", "malformed", id="array of four thousand million"),
        pytest.param(b"\xdd\x00\x3d\x08\xff" * 400, "malformed", id="arrays within arrays, all huge"),
        pytest.param(b"\xdf\xff\xff\xff\xff", "malformed", id="map of four thousand million"),
        pytest.param(b"\xc6\xff\xff\xff\xff", "malformed", id="bytes of four thousand million"),
        pytest.param(pack(dict.fromkeys(map(str, range(1001)))), "malformed", id="map of 1001 fields"),
        pytest.param(b"\x91" * 100_000, "nesting", id="a hundred thousand arrays deep"),
        pytest.param(b"\x81\xa1a" * 100_000, "nesting", id="a hundred thousand maps deep"),
        pytest.param(pack(None), "not_a_batch", id="nil"),
        pytest.param(pack([]), "not_a_batch", id="empty array"),
        pytest.param(pack([1.0]), "not_a_batch", id="timestamp alone"),
        pytest.param(pack([None, []]), "not_a_batch", id="timestamp nil"),
        pytest.param(pack([True, []]), "not_a_batch", id="timestamp bool"),
        pytest.param(pack([1.0, {}]), "not_a_batch", id="events a map"),
        pytest.param(pack({"events": []}), "not_a_batch", id="map without a timestamp"),
        pytest.param(pack(msgpack.ExtType(1, b"ab")), "not_a_batch", id="extension"),
    ],
)
def test_bytes_that_are_no_batch_are_refused(payload: bytes, reason: str) -> None:
    """Whatever a peer sends, the only error is DecodeError with a short reason."""
    with pytest.raises(DecodeError) as caught:
        decode(payload)

    assert caught.value.reason == reason
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("length", range(44))
def test_every_prefix_of_a_batch_is_refused(length: int) -> None:
    """A payload that was cut anywhere is never taken for a shorter batch."""
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(GOLDEN["medium and unsigned hash"][0])[:length])


def test_million_events_are_refused() -> None:
    """A batch beyond the limit costs no work per event."""
    with pytest.raises(DecodeError) as caught:
        decode(b"\x92\x01\xdd" + struct.pack(">I", 1_000_000) + b"\xc0" * 1_000_000)

    assert caught.value.reason == "too_many_events"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        pytest.param(["BlockStored", [0] * 1_000_000, None, [], 1], "too_many_hashes", id="stored"),
        pytest.param(["BlockRemoved", [0] * 1_000_000], "too_many_hashes", id="removed"),
    ],
)
def test_million_hashes_are_skipped(event: object, reason: str) -> None:
    """An event beyond the limit is skipped as a whole."""
    assert [skip.reason for skip in skipped(event)] == [reason]


def test_limits_are_inclusive() -> None:
    """A message exactly at its limits is read, one beyond any of them is not."""
    payload = pack([1.0, [["BlockStored", [1, 2], None, [1, 2, 3], 1]]])
    exact = Limits(payload_bytes=len(payload), events=1, hashes=2, tokens=12)

    assert len(decode(payload, exact).events) == 1
    with pytest.raises(DecodeError, match="too_large"):
        decode(payload, Limits(payload_bytes=len(payload) - 1))
    with pytest.raises(DecodeError, match="too_many_events"):
        decode(payload, Limits(events=0))
    assert decode(payload, Limits(hashes=1)).skipped[0].reason == "too_many_hashes"
    assert decode(payload, Limits(tokens=2)).skipped[0].reason == "too_many_tokens"


@pytest.mark.parametrize("number", [0, 1, 2**63, 2**64 - 2])
def test_sequence_frames_round_trip(number: int) -> None:
    """A sequence is eight bytes, big-endian and unsigned."""
    assert decode_sequence(encode_sequence(number)) == number
    assert encode_sequence(258) == bytes([0, 0, 0, 0, 0, 0, 1, 2])


def test_end_of_replay_is_no_sequence_in_use() -> None:
    """The end marker is the largest number there is."""
    assert decode_sequence(END_SEQUENCE) == 2**64 - 1


@pytest.mark.parametrize("frame", [b"", b"\x00" * 7, b"\x00" * 9])
def test_sequence_of_another_length_is_refused(frame: bytes) -> None:
    """Only eight bytes are a sequence."""
    with pytest.raises(DecodeError) as caught:
        decode_sequence(frame)

    assert caught.value.reason == "sequence"


def test_pairs_of_tokens_are_read_by_their_first() -> None:
    """SGLang with EAGLE sends each token together with the next."""
    event = ["BlockStored", [1], None, [[11, 12], [12, 13]], 2]

    (stored,) = decode(pack([1.0, [event], 0])).events
    assert stored == BlockStored(block_hashes=(1,), parent_block_hash=None, token_ids=(11, 12), block_size=2)
