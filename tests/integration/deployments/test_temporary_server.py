"""Prefect's server for one run."""

import sqlite3
import subprocess
import sys
from contextlib import closing
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


FLOW = """
from deployments.temporary_server import TemporaryServer
server = TemporaryServer.start()
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger
from prefect.settings import temporary_settings
@task
def show():
    get_run_logger().info("shown")
    create_markdown_artifact("# all well", key="verdict")
@flow
def run():
    show()
server.await_start()
with temporary_settings(server.client_settings):
    run()
"""


def test_what_a_run_shows_is_kept_when_its_server_has_ended(tmp_path: Path) -> None:
    """Its states, lines, artifacts and events: what the server leaves out and puts off is none of these."""
    subprocess.run([sys.executable, "-c", FLOW], env=environment(tmp_path, {}), check=True, timeout=60)

    with closing(sqlite3.connect(tmp_path / ".prefect" / FILE)) as database:
        rows = {
            name: [value for (value,) in database.execute(query)]
            for name, query in {
                "flow": "SELECT type FROM flow_run_state ORDER BY timestamp",
                "task": "SELECT type FROM task_run_state ORDER BY timestamp",
                "shown": "SELECT state_type FROM task_run",
                "line": "SELECT message FROM log WHERE message = 'shown'",
                "artifact": "SELECT data FROM artifact",
                "event": "SELECT event FROM events WHERE event = 'prefect.task-run.Completed'",
            }.items()
        }
    states = ["PENDING", "RUNNING", "COMPLETED"]
    assert rows == {
        "flow": states,
        "task": states,
        "shown": ["COMPLETED"],
        "line": ["shown"],
        "artifact": ['"# all well"'],
        "event": ["prefect.task-run.Completed"],
    }
