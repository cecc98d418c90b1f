"""Open connections on a node are reset and counted; docker is a stand-in."""

from pathlib import Path

import pytest

from kvsync.testing.faults.node.node import Node
from kvsync.testing.processes.tools import Tools
from kvsync.testing.results.verdicts import NotRun

DOCKER = """\
#!/bin/sh
case "$*" in
  *--kill*) cat {folder}/killed ;;
  *) cat {folder}/open ;;
esac
"""
OPEN = "0 0 10.0.0.1:5557 10.0.0.9:40000\n0 0 10.0.0.1:5557 10.0.0.9:40001\n"


def node(folder: Path, *, is_open: str, killed: str) -> Node:
    """A node with these connections, of which its kernel resets those."""
    for name, text in (("docker", DOCKER.format(folder=folder)), ("open", is_open), ("killed", killed)):
        (folder / name).write_text(text)
    (folder / "docker").chmod(0o755)
    return Node("n1", Tools(f"{folder}:/usr/bin:/bin"))


@pytest.mark.parametrize(("is_open", "count"), [(OPEN, 2), ("", 0)], ids=["two", "none"])
def test_what_was_open_is_counted(tmp_path: Path, is_open: str, count: int) -> None:
    """Without a connection, nothing was reset."""
    assert node(tmp_path, is_open=is_open, killed=is_open).reset([5557]) == count


def test_a_kernel_that_leaves_them_open_lacks_something(tmp_path: Path) -> None:
    """That is not a fault without effect: it was never carried out."""
    with pytest.raises(NotRun, match="the kernel of n1 cannot reset connections"):
        node(tmp_path, is_open=OPEN, killed="").reset([5557])
