"""JSON: what is read, and in which form it is written."""

import pytest

from registry.core import Key, Record
from registry.errors import BadRequest
from registry.json_text import canonical, digest, read_json


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b"NaN",
        b"[Infinity]",
        b"\xff",
        b"1e999",
        b"[" * 100_000,
        b"9" * 5000,
        b"[" * 65 + b"]" * 65,
    ],
    ids=["nothing", "cut", "quotes", "nan", "infinity", "bytes", "huge", "endless", "digits", "deep"],
)
def test_what_is_no_json_is_refused(sent: bytes) -> None:
    """Also what Python would read, and what would exhaust it."""
    with pytest.raises(BadRequest):
        read_json(sent)


def test_equal_values_are_equal_texts() -> None:
    """Names are sorted, spaces left out."""
    assert (
        canonical({"b": [1, {"d": None, "c": "é"}], "a": 1.5}) == '{"a":1.5,"b":[1,{"c":"\\u00e9","d":null}]}'
    )
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_records_are_read_back() -> None:
    """What is no record is an error."""
    record = Record(id="i", subject="s", version="1.0.0", schema={"type": "null"}, digest="d")
    assert Record.decode(record.encode()) == record
    assert str(record.key) == "s/1.0.0"
    assert record.key == Key("s", "1.0.0")
    for damaged in (b"{}", b"[]", b'{"id":1', b'{"unknown":1}'):
        with pytest.raises(ValueError, match=r".+"):
            Record.decode(damaged)
