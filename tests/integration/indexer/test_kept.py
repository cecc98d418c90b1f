"""A process that is kept running ends with who keeps it."""

import asyncio
import sys
from pathlib import Path

import psutil

from kvsync.indexer.kept import KeptProcess
from kvsync.testing.processes.wait import wait_for

WRITES = """
import os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
(folder / "started").write_text(str(os.getpid()))
sys.stdin.read()
(folder / "ended").touch()
"""


async def test_one_that_is_stopped_ends_as_well(tmp_path: Path) -> None:
    """It goes on, so that it can write what it knows, and is neither waited for nor killed."""
    kept = KeptProcess("writer", [sys.executable, "-c", WRITES, str(tmp_path)], b"", end_s=600)
    running = asyncio.create_task(kept.run())
    started = tmp_path / "started"
    await asyncio.to_thread(
        wait_for, lambda: started.exists() and started.read_text(), what="it started", timeout_s=20
    )
    psutil.Process(int(started.read_text())).suspend()

    running.cancel()
    await asyncio.wait([running])

    assert (tmp_path / "ended").exists()
