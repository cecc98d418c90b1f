"""Snapshots in a folder: a file for each source, replaced as a whole, so that none is ever half written."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from xxhash import xxh3_64_hexdigest

from kvsync.errors import ConfigError, SnapshotError
from kvsync.events import Source
from kvsync.snapshots.coding import HEADER_BYTES, MAX_BYTES, decode, encode
from kvsync.snapshots.snapshot import SourceSnapshot

log = logging.getLogger(__name__)

SUFFIX = ".kvsnap"

_UNFINISHED = ".unfinished"


def file_name(source: Source) -> str:
    """Name a source's file: as people call it, and then unmistakably."""
    readable = re.sub(r"[^\w.-]", "_", source.pod)[:100]
    identity = "\0".join((source.pod, source.model, str(source.rank)))
    return f"{readable}-{source.rank}-{xxh3_64_hexdigest(identity.encode())}{SUFFIX}"


class SnapshotFolder:
    """A folder that one gateway keeps. Raises ConfigError when it cannot be written to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=path, suffix=_UNFINISHED):
                pass
        except OSError as error:
            raise ConfigError("configuration of the gateway", [f"snapshots.folder: {error}"]) from error

    def read(self, *, not_before: float) -> Iterator[SourceSnapshot | SnapshotError]:
        """Read every snapshot, or why it cannot be used, which is not before `not_before` (since the epoch).

        Files that are older, or were never finished, are removed.
        """
        for file in sorted(self._path.glob(f"*{_UNFINISHED}")):
            file.unlink(missing_ok=True)
        for file in sorted(self._path.glob(f"*{SUFFIX}")):
            try:
                snapshot = self._read(file)
            except (OSError, SnapshotError) as error:
                yield SnapshotError(f"{file}: {error}")
                continue
            if snapshot.made_at >= not_before:
                yield snapshot
                continue
            file.unlink(missing_ok=True)
            yield SnapshotError(f"{file}: it is older than snapshots.max_age_s")

    def write(self, snapshot: SourceSnapshot) -> int:
        """Replace the source's snapshot; returns the bytes written. Raises OSError, SnapshotError."""
        stored = encode(snapshot)
        with NamedTemporaryFile(dir=self._path, suffix=_UNFINISHED, delete=False) as file:
            try:
                file.write(stored)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(self._path / file_name(snapshot.source))
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise
        return len(stored)

    def remove(self, source: Source) -> None:
        """Remove the snapshot of a source that is no more."""
        with suppress(OSError):
            (self._path / file_name(source)).unlink(missing_ok=True)

    def _read(self, file: Path) -> SourceSnapshot:
        if (size := file.stat().st_size) > HEADER_BYTES + MAX_BYTES:
            raise SnapshotError(f"it has {size} bytes, at most {HEADER_BYTES + MAX_BYTES} are read")
        return decode(file.read_bytes())
