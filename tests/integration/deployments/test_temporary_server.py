"""Prefect's server for one run."""

import subprocess
import sys
from pathlib import Path

import psutil

from deployments.database import FILE
from deployments.launch import environment
from kvsync.testing.processes.wait import wait_for

RUN = """
import sys
import httpx
from deployments.temporary_server import TemporaryServer
server = TemporaryServer.start()
server.await_start()
httpx.post(f"{server.url}/flows/", json={"name": "f"}).raise_for_status()
print(server.process.pid, flush=True)
sys.stdin.read()
"""


def test_a_server_is_its_runs_alone_and_ends_with_it(tmp_path: Path) -> None:
    """It keeps to the report folder and asks for no password; a run that is killed cannot tell it to end."""
    run = subprocess.Popen(
        [sys.executable, "-c", RUN],
        env=environment(
            tmp_path,
            {
                "PREFECT_SERVER_API_AUTH_STRING": "user:secret",
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://user:secret@127.0.0.1:9/other",
            },
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert run.stdout is not None
    server = psutil.Process(int(run.stdout.readline()))
    assert (tmp_path / ".prefect" / FILE).exists()

    run.kill()
    run.communicate()

    wait_for(lambda: not server.is_running(), timeout_s=30, what="the server has ended")
