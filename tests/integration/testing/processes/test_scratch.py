"""Folders that go, whatever somebody put into them."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvsync.testing.processes.scratch import remove


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder in which folders lie deeper than Python's recursion, or a path, reaches."""
    top = tmp_path / "top"
    top.mkdir()
    at = os.open(top, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    yield top
    subprocess.run(["rm", "-rf", str(top)], check=True)  # noqa: S607  # pytest would not manage it


def test_a_folder_goes_however_deep_it_is(deep: Path) -> None:
    """Tests of others may make any folder, and what they leave is removed."""
    assert remove(deep)

    assert not deep.exists()
