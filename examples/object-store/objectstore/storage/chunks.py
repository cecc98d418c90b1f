"""The chunks of one storage server: a file each, there whole or not at all.

A chunk is written beside its place and moved there once its size and checksum are right. What a crash leaves
half-written is removed when the server starts. A chunk that was acknowledged outlives a crash of the process;
against a power failure there are the copies on other servers.
"""

import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from objectstore.errors import ChecksumMismatch, NotFound
from objectstore.names import chunk_id

PIECE_BYTES = 1024 * 1024
"""How much of a chunk goes into one message."""

_ZEROS = bytes(PIECE_BYTES)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a chunk is checked by: how many bytes, and their CRC-32."""

    size: int
    crc32: int


class ChunkFolder:
    """The chunks in a folder, which nothing else writes to."""

    def __init__(self, folder: Path) -> None:
        self._chunks, self._incoming = folder / "chunks", folder / "incoming"
        shutil.rmtree(self._incoming, ignore_errors=True)
        for each in (self._chunks, self._incoming):
            each.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, parts: Iterable[bytes | Summary]) -> Summary:
        """Keep the bytes in `parts`, the last of which is their summary.

        Raises Invalid for a name that is none, and ChecksumMismatch where bytes and summary do not fit or
        there is none; then nothing is kept.
        """
        place = self._place(name)
        beside = self._incoming / uuid4().hex
        try:
            with beside.open("xb") as file:
                found, announced = _receive(file, parts)
            if found != announced:
                raise ChecksumMismatch(f"chunk {name}: received {found}, announced {announced}")
            place.parent.mkdir(exist_ok=True)
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)
        return found

    def read(self, name: str, offset: int = 0) -> Iterator[bytes]:
        """Yield a chunk from `offset` on. Raises Invalid and NotFound."""
        try:
            file = self._place(name).open("rb")
        except FileNotFoundError as exc:
            raise NotFound(f"there is no chunk {name}") from exc
        with file:
            file.seek(offset)
            while piece := file.read(PIECE_BYTES):
                yield piece

    def delete(self, name: str) -> None:
        """Remove a chunk. Raises Invalid and NotFound."""
        try:
            self._place(name).unlink()
        except FileNotFoundError as exc:
            raise NotFound(f"there is no chunk {name}") from exc

    def count(self) -> int:
        """Return how many chunks there are."""
        return sum(len(files) for _, _, files in os.walk(self._chunks))

    def space(self) -> tuple[int, int]:
        """Return the size of the disk and what is free of it, in bytes."""
        usage = shutil.disk_usage(self._chunks)
        return usage.total, usage.free

    def _place(self, name: str) -> Path:
        # By the end: chunks of one file begin alike.
        return self._chunks / f"{zlib.crc32(chunk_id(name).encode()) % 256:02x}" / name


def _receive(file: BinaryIO, parts: Iterable[bytes | Summary]) -> tuple[Summary, Summary | None]:
    """Write down bytes; return what they are, and what they were announced to be.

    Zeros become holes, which take no room on the disk.
    """
    size, crc, announced = 0, 0, None
    for part in parts:
        if isinstance(part, Summary):
            announced = part
            break
        crc, size = zlib.crc32(part, crc), size + len(part)
        if part == _ZEROS[: len(part)]:
            file.seek(len(part), os.SEEK_CUR)
        else:
            file.write(part)
    file.truncate(size)
    return Summary(size, crc), announced
