"""A place for sockets."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """An empty folder with a short path: those of sockets have 107 bytes at most, and are absolute."""
    with TemporaryDirectory(prefix="kv-") as folder:
        yield Path(folder).resolve()
