"""What `kvsync tail` prints of a message: all of it, also what is not known."""

import re

import msgpack  # type: ignore[import-untyped]  # ships no type information
import pytest

from kvsync.errors import ConfigError
from kvsync.tail import Json, check, lines_of

STORED = [
    "BlockStored",
    [-1],
    b"\x01\x02",
    [5, 6],
    2,
    None,
    "GPU",
    None,
    None,
    0,
    "full_attention",
    None,
    "new",
]


def lines(payload: object, *head: bytes, replayed: bool = False) -> list[Json]:
    """What is printed of message 7."""
    packed = payload if isinstance(payload, bytes) else bytes(msgpack.packb(payload))
    return lines_of([*head, (7).to_bytes(8, "big"), packed], replayed=replayed)


@pytest.mark.parametrize(
    ("head", "replayed", "via", "frames"),
    [
        ((b"kv",), False, "live", ["topic 'kv'", "sequence", "payload"]),
        ((b"",), True, "replay", ["empty", "sequence", "payload"]),
        ((b"", b"\xff"), True, "replay", ["empty", "topic '\\\\xff'", "sequence", "payload"]),
    ],
    ids=["live", "old replay", "new replay"],
)
def test_the_frames_of_a_message(
    head: tuple[bytes, ...], replayed: bool, via: str, frames: list[str]
) -> None:
    """The layout says which replays an engine sends."""
    (message,) = lines([1.5, [], 3], *head, replayed=replayed)

    assert message == {
        "type": "Message",
        "sequence": 7,
        "via": via,
        "frames": frames,
        "bytes": 12,
        "ts": 1.5,
        "data_parallel_rank": 3,
        "events": 0,
    }


def test_fields_by_position_have_names_and_surplus_ones_numbers() -> None:
    """Of a batch as of an event; integers that are hashes are hexadecimal, and so are bytes."""
    message, event = lines([1.5, [STORED], 0, "more"], b"")

    assert message["field 3"] == "more"
    assert event == {
        "type": "BlockStored",
        "sequence": 7,
        "block_hashes": ["f" * 16],
        "parent_block_hash": "0102",
        "token_ids": [5, 6],
        "block_size": 2,
        "lora_id": None,
        "medium": "GPU",
        "lora_name": None,
        "extra_keys": None,
        "group_idx": 0,
        "kv_cache_spec_kind": "full_attention",
        "kv_cache_spec_sliding_window": None,
        "field 12": "new",
    }


def test_maps_are_printed_as_they_are() -> None:
    """Fields that are not known here are not left out."""
    removed = {"type": "BlockRemoved", "block_hashes": [2**64 - 1], "remaining": [1], "key": {"a": b"\x00"}}
    _, event = lines({"ts": 1, "events": [removed]}, b"")

    assert event == removed | {"block_hashes": ["f" * 16], "key": {"a": "00"}, "sequence": 7}


@pytest.mark.parametrize("event", [["Moved", 1], {"type": "Moved", "field 1": 1}], ids=["array", "map"])
def test_an_unknown_event_is_printed_and_said_to_be_one(event: object) -> None:
    """An event without a batch, too."""
    message, printed = lines(event, b"")

    assert printed == {"type": "Moved", "field 1": 1, "sequence": 7}
    assert message["problems"] == ["event 0: unknown_tag: 'Moved'"]


@pytest.mark.parametrize("payload", [b"garbage", [], 5, [1.5, [7]], [1.5, [[]]], [1.5, [[["a"]]]]])
def test_what_is_not_a_batch_is_printed_with_the_problem(payload: object) -> None:
    """Nothing that a peer sends ends the printing."""
    message, *_ = lines(payload, b"")

    assert message.get("problem") or message["problems"]


@pytest.mark.parametrize(
    ("endpoint", "mend"),
    [
        ("10.0.0.1:5557", "give it as tcp://10.0.0.1:5557"),
        ("tcp://10.0.0.1", "give it as tcp://10.0.0.1:5557"),
        ("http://10.0.0.1:5557", "give it as tcp://10.0.0.1:5557"),
        ("tcp://*:5557", "let the engine bind its endpoint"),
    ],
    ids=["no scheme", "no port", "another scheme", "to listen on"],
)
def test_an_endpoint_that_is_none_is_refused(endpoint: str, mend: str) -> None:
    """With the way to write it."""
    with pytest.raises(ConfigError, match=re.escape(mend)):
        check(endpoint)


@pytest.mark.parametrize("endpoint", ["tcp://10.0.0.1:5557", "tcp://[::1]:5557", "tcp://engine.local:5557"])
def test_an_endpoint_is_taken_as_it_is(endpoint: str) -> None:
    """Names and addresses of both kinds."""
    check(endpoint)
