"""Folders that are gone afterwards, and removing what may be going already."""

import contextlib
import os
import shutil
import subprocess
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
                _remove_folder(path)
            else:
                path.unlink()
    return found


def _remove_folder(path: Path) -> None:
    """Remove a folder, whatever is in it: it may be unreadable, or deeper than Python's recursion."""
    try:
        shutil.rmtree(path)
    except (PermissionError, RecursionError):
        for words in (("rm", "-rf"), ("chmod", "-R", "u+rwx"), ("rm", "-rf")):
            done = subprocess.run([*words, "--", str(path)], capture_output=True, text=True, check=False)
            if not os.path.lexists(path):
                return
        raise OSError(f"{path} cannot be removed: {done.stderr[-500:].strip()}") from None
