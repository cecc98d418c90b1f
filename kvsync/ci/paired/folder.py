"""A folder for a comparison: gone afterwards, or, where that was killed, with the next comparison."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from kvsync.testing.processes.scratch import remove

PREFIX = "kvsync-ab-"

LOCK = "lock"
"""Held as long as the process lives that made the folder, however it ends."""

YOUNG_S = 60.0
"""A folder that was made just now may not be locked yet."""


@contextmanager
def own_folder(parent: Path | None = None) -> Iterator[Path]:
    """Make a folder, among temporary files unless told where; those of killed processes go first."""
    parent = parent or Path(gettempdir())
    for folder in abandoned(parent):
        with suppress(OSError):
            remove(folder)
    with (
        TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True) as name,
        Path(name, LOCK).open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)


def abandoned(parent: Path) -> list[Path]:
    """Return the folders of ours whose process is gone."""
    return [each for each in sorted(parent.glob(f"{PREFIX}*")) if _is_abandoned(each)]


def _is_abandoned(folder: Path) -> bool:
    try:
        found = folder.lstat()
        if found.st_uid != os.getuid() or time.time() - found.st_mtime < YOUNG_S:
            return False
        with (folder / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, gone, or none of ours
        return False
    return True
