"""Folders that are gone afterwards, and removing what may be going already."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from kvsync.testing.processes.ledger import Ledger


@contextlib.contextmanager
def scratch(ledger: Ledger, path: Path) -> Iterator[Path]:
    """Make an empty folder that is gone afterwards, and in the ledger until then."""
    entry = ledger.intend("path", str(path))
    remove(path)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        remove(path)
        ledger.released(entry)


def remove(path: Path) -> bool:
    """Remove a file or a folder with all in it; False when there was nothing."""
    found = os.path.lexists(path)
    while os.path.lexists(path):
        # A guardian and `kvsync-ci clean` may remove the same folder at the same time.
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    return found
