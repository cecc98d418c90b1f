"""The form of backups."""

import pytest

from registry.backup import pack, unpack
from registry.compatibility import Mode
from registry.core import Record
from registry.errors import Conflict

MODES: dict[str, Mode] = {"s": "full"}
RECORDS = [Record(id=str(n), subject="s", version=f"{n}.0.0", schema={"n": n}, digest="d") for n in range(3)]


def test_what_is_packed_is_unpacked() -> None:
    """Also nothing."""
    assert unpack(pack(MODES, RECORDS)) == (MODES, RECORDS)
    assert unpack(pack({}, [])) == ({}, [])


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "line lost", "mode", "text"])
def test_a_damaged_backup_is_not_restored(damage: str) -> None:
    """Not even in part."""
    packed = pack(MODES, RECORDS)
    lines = packed.splitlines(keepends=True)
    damaged = {
        "empty": b"",
        "cut": packed[:-20],
        "changed": packed.replace(b'"n":1', b'"n":7'),
        "line lost": b"".join(lines[:1] + lines[2:]),
        "mode": packed.replace(b"full", b"fool"),
        "text": b"hello\n",
    }[damage]
    with pytest.raises(Conflict, match="the backup is damaged"):
        unpack(damaged)
