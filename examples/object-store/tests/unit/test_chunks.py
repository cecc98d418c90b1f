"""Chunks on a disk."""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objectstore.errors import ChecksumMismatch, Invalid, NotFound
from objectstore.storage.chunks import PIECE_BYTES, ChunkFolder, Summary


def whole(*pieces: bytes) -> list[bytes | Summary]:
    """Return what a stream has that is whole."""
    content = b"".join(pieces)
    return [*pieces, Summary(len(content), zlib.crc32(content))]


@settings(max_examples=30)
@given(st.lists(st.one_of(st.binary(max_size=100), st.integers(0, 5000).map(bytes)), max_size=8))
def test_a_chunk_comes_back(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    """Whatever the pieces are, also zeros."""
    chunks = ChunkFolder(tmp_path_factory.mktemp("chunks"))

    kept = chunks.write("abc", whole(*pieces))

    assert b"".join(chunks.read("abc")) == b"".join(pieces)
    assert kept.size == sum(map(len, pieces))


def test_zeros_take_no_room(tmp_path: Path) -> None:
    """A chunk of zeros is a hole, which reads as zeros."""
    chunks = ChunkFolder(tmp_path)

    chunks.write("abc", whole(*[bytes(PIECE_BYTES)] * 8))

    (file,) = (each for each in tmp_path.rglob("abc"))
    assert file.stat().st_size == 8 * PIECE_BYTES
    assert file.stat().st_blocks * 512 < PIECE_BYTES
    assert not any(any(piece) for piece in chunks.read("abc"))


@pytest.mark.parametrize("summary", [Summary(3, 0), Summary(2, zlib.crc32(b"abc")), None])
def test_what_does_not_fit_its_summary_is_not_kept(tmp_path: Path, summary: Summary | None) -> None:
    """Nothing of it is left, and what was there before stays."""
    chunks = ChunkFolder(tmp_path)
    chunks.write("abc", whole(b"before"))

    with pytest.raises(ChecksumMismatch):
        chunks.write("abc", [b"abc", summary] if summary else [b"abc"])

    assert b"".join(chunks.read("abc")) == b"before"
    assert os.listdir(tmp_path / "incoming") == []  # noqa: PTH208


def test_a_stream_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    """Neither a chunk nor a half of one."""

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionError

    chunks = ChunkFolder(tmp_path)
    with pytest.raises(ConnectionError):
        chunks.write("abc", broken())

    assert chunks.count() == 0
    assert list((tmp_path / "incoming").iterdir()) == []


def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    """A server that starts has its whole chunks and no others."""
    ChunkFolder(tmp_path).write("abc", whole(b"kept"))
    (tmp_path / "incoming" / "half").write_bytes(b"half")

    again = ChunkFolder(tmp_path)

    assert b"".join(again.read("abc")) == b"kept"
    assert list((tmp_path / "incoming").iterdir()) == []


def test_chunks_that_are_not_there(tmp_path: Path) -> None:
    """They can be neither read nor deleted, and an id that could be a path is refused first."""
    chunks = ChunkFolder(tmp_path)
    for refused, name in ((NotFound, "abc"), (Invalid, "../abc")):
        with pytest.raises(refused):
            next(chunks.read(name))
        with pytest.raises(refused):
            chunks.delete(name)
