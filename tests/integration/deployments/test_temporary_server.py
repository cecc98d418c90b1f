"""Prefect's server for one run."""

import subprocess
import sys
from pathlib import Path

import psutil

from deployments.launch import environment
from kvsync.testing.processes.wait import wait_for

RUN = """
import sys
from deployments.temporary_server import TemporaryServer
server = TemporaryServer.start()
server.await_start()
print(server.process.pid, flush=True)
sys.stdin.read()
"""


def test_a_server_ends_with_its_run(tmp_path: Path) -> None:
    """Also when that is killed, and cannot tell it to."""
    run = subprocess.Popen(
        [sys.executable, "-c", RUN],
        env=environment(tmp_path, {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert run.stdout is not None
    server = psutil.Process(int(run.stdout.readline()))

    run.kill()
    run.communicate()

    wait_for(lambda: not server.is_running(), timeout_s=30, what="the server has ended")
