"""Whatever happens to a run, it ends in a true state, with a report that says so, and leaves nothing."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import psutil
import pytest

from kvsync.ci.cleaning.residue import find
from kvsync.testing.processes.living import end, find_strays
from kvsync.testing.processes.wait import wait_for
from tests.pipeline.conftest import ROOT, Pipeline, guardians, words

POOL = "kill-table"
MARK = "a child of the endless test"

ENDLESS = f"""
    import signal, subprocess, sys, time

    def test_first():
        pass

    def test_endless():
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)", "{MARK}"])
        time.sleep(3600)
"""
DEAF = f"""
    import signal, subprocess, sys, time

    def test_first():
        pass

    def test_endless():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(3600)", "{MARK}"], start_new_session=True
        )
        while True:
            time.sleep(60)
"""
"""Nothing of it minds being asked to end, and its child is in a session of its own."""

ENDINGS = {
    "CANCELLED": r"was interrupted|cancelled: (it had not ended 20 s|the run's process ended before)",
    "CRASHED": r"was interrupted|ended before the run did|ended with -9",
}
"""How a run may have ended, by its state. What was cancelled ends by itself; when its tests are deaf, or the
machine is busy, its guardian or the worker may have to kill it first."""

LIMIT_S = 120.0
"""In which everything has come to its end, on a machine however busy."""

pytestmark = pytest.mark.timeout(300)
ONLY_FULL = pytest.mark.full


class Server:
    """A Prefect server with the deployment of the pipeline, and its work pool's worker."""

    def __init__(self, url: str, home: Path) -> None:
        self.api = httpx.Client(base_url=url, timeout=30)
        self.env = {
            **os.environ,
            "PREFECT_API_URL": url,
            "PREFECT_HOME": str(home),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "KVSYNC_CI_STORE_URL": str(home / "store"),
            "PYTHONPATH": str(ROOT),
        }
        self.log = home / "worker.log"
        self.store = home / "store" / "kvsync"
        self.worker: subprocess.Popen[bytes] | None = None
        self.ask("/work_pools/", name=POOL, type="process")
        self.deployment = self.ask(
            "/deployments/",
            name="kill-table",
            flow_id=self.ask("/flows/", name="pipeline")["id"],
            entrypoint="flows.pipeline.run_pipeline",
            work_pool_name=POOL,
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
            enforce_parameter_schema=False,
        )["id"]

    def ask(self, path: str, **body: object) -> Any:
        """Post to the API, again while it is busy: SQLite lets one write at a time."""

        def answer() -> httpx.Response | None:
            response = self.api.post(path, json=body)
            return None if response.status_code == httpx.codes.SERVICE_UNAVAILABLE else response

        response = wait_for(answer, what=f"{path} answers", timeout_s=30, interval_s=0.5)
        assert response.is_success or response.status_code == httpx.codes.CONFLICT, response.text
        return response.json()

    def employ(self) -> psutil.Process:
        """Return the worker, a new one if there is none."""
        if self.worker is None or self.worker.poll() is not None:
            with self.log.open("ab") as log:
                self.worker = subprocess.Popen(
                    [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool", POOL],
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
        return psutil.Process(self.worker.pid)

    def create_run(self, **parameters: str) -> str:
        """Do what a schedule does; returns the id of the flow run."""
        path = f"/deployments/{self.deployment}/create_flow_run"
        made = self.ask(path, parameters={"parameters": {"stages": ["unit"], **parameters}})
        return str(made["id"])

    def flow_run(self, run: str) -> str:
        """Return the id of the flow run whose name ends in that of a run."""
        (found,) = self.ask("/flow_runs/filter", flow_runs={"name": {"like_": run}})
        return str(found["id"])

    def cancel(self, flow_run: str) -> None:
        """Do what the button in the UI does."""
        self.ask(f"/flow_runs/{flow_run}/set_state", state={"type": "CANCELLING"})

    def state(self, flow_run: str) -> dict[str, str]:
        """Return the state that the flow run has now."""
        return dict(self.api.get(f"/flow_runs/{flow_run}").json()["state"])


@pytest.fixture(scope="module")
def prefect(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, and at the end no worker."""
    made = Server(server, tmp_path_factory.mktemp("worker"))
    yield made
    if made.worker is not None:
        end([psutil.Process(made.worker.pid)])
        made.worker.wait(30)
    made.api.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A run whose endless test has begun."""

    flow_run: str
    folder: Path
    prefect: Server
    command: subprocess.Popen[str] | None

    @property
    def process(self) -> psutil.Process:
        """The process of the flow: pytest's parent."""
        parent = next(p for p in find_strays(self.folder.name) if "tests/unit" in words(p)).parent()
        assert parent is not None
        return parent


Act = Callable[[Running], None]


def cancel(run: Running) -> None:
    """The button in the UI."""
    run.prefect.cancel(run.flow_run)


def to_flow(number: signal.Signals) -> Act:
    """Send a signal to the process of the flow."""
    return lambda run: run.process.send_signal(number)


def to_worker(number: signal.Signals) -> Act:
    """Send a signal to the worker."""
    return lambda run: run.prefect.employ().send_signal(number)


def worker_killed_then_cancelled(run: Running) -> None:
    """No worker is left to act upon it."""
    run.prefect.employ().kill()
    run.prefect.cancel(run.flow_run)


def command_killed(run: Running) -> None:
    """Send SIGKILL to `kvsync-ci run`."""
    assert run.command is not None
    run.command.kill()


def row(
    name: str,
    by: Literal["worker", "command"],
    act: Act,
    state: Literal["CANCELLED", "CRASHED"],
    *,
    test: str = ENDLESS,
    full: bool = True,
) -> object:
    """One row of the table; `full`: for the night only."""
    return pytest.param(by, act, state, test, id=name, marks=[ONLY_FULL] if full else [])


@pytest.mark.parametrize(
    ("by", "act", "state", "test"),
    [
        row("cancel", "worker", cancel, "CANCELLED", full=False),
        row("cancel, all deaf", "worker", cancel, "CANCELLED", test=DEAF),
        row("SIGTERM flow", "worker", to_flow(signal.SIGTERM), "CRASHED"),
        row("SIGINT flow", "worker", to_flow(signal.SIGINT), "CRASHED"),
        row("SIGKILL flow", "worker", to_flow(signal.SIGKILL), "CRASHED", full=False, test=DEAF),
        row("SIGTERM worker", "worker", to_worker(signal.SIGTERM), "CRASHED"),
        row("SIGINT worker", "worker", to_worker(signal.SIGINT), "CRASHED"),
        row("SIGKILL worker, cancel", "worker", worker_killed_then_cancelled, "CANCELLED"),
        row("ad hoc SIGTERM flow", "command", to_flow(signal.SIGTERM), "CRASHED"),
        row("ad hoc SIGINT flow", "command", to_flow(signal.SIGINT), "CRASHED"),
        row("ad hoc SIGKILL flow", "command", to_flow(signal.SIGKILL), "CRASHED"),
        row("ad hoc SIGKILL command", "command", command_killed, "CRASHED", full=False),
    ],
)
def test_a_run_ends_in_truth(
    prefect: Server,
    pipeline: Pipeline,
    repository: Callable[..., str],
    by: str,
    act: Act,
    state: str,
    test: str,
) -> None:
    """State and report say what happened, and neither process nor entry of the ledger is left."""
    with running(prefect, pipeline, by, repository(unit=test)) as run:
        act(run)
        await_end(run)

    assert prefect.state(run.flow_run)["type"] == state
    report = json.loads((run.folder / "report.json").read_text())
    assert report["verdict"] == "unknown"
    assert re.search(ENDINGS[state], report["reason"])
    kinds = [check["kind"] for check in report["stages"][0]["checks"]]
    assert kinds in (["passed", "not-run"], ["passed", "inconclusive"])
    assert (run.folder / "report.html").exists()
    if by == "worker":
        assert (prefect.store / run.folder.name / "manifest.json").exists()


@contextmanager
def running(prefect: Server, pipeline: Pipeline, by: str, sources: str) -> Iterator[Running]:
    """Start a run, by a worker or by hand, that hangs in its endless test; nothing is left of it."""
    command, flow_run = None, ""
    try:
        if by == "worker":
            prefect.employ()
            flow_run = prefect.create_run(repository=sources, report_dir=str(pipeline.reports))
        else:
            command = pipeline.start("run", "unit", "--repository", sources)
        # Each look takes 20 ms of CPU: it reads the environment of every process of the machine.
        folder = wait_for(
            lambda: hanging(pipeline), what="the endless test runs", timeout_s=90, interval_s=0.3
        )
        flow_run = flow_run or prefect.flow_run(folder.name)
        yield Running(flow_run=flow_run, folder=folder, prefect=prefect, command=command)
    finally:
        for run in pipeline.runs():
            end([*guardians(run), *find_strays(run.name)])
        if command is not None:
            command.kill()
            command.communicate(timeout=10)


def hanging(pipeline: Pipeline) -> Path | None:
    """Return the folder of the run whose endless test has started its child."""
    for folder in pipeline.runs():
        if any(MARK in words(each) for each in find_strays(folder.name)):
            return folder
    return None


def await_end(run: Running) -> None:
    """Wait until the run has ended in every respect."""
    ledger = run.folder / "ledger.jsonl"

    def left() -> list[str]:
        state = run.prefect.state(run.flow_run)["type"]
        return [
            *([state] if state in ("RUNNING", "CANCELLING") else []),
            *([] if (run.folder / "report.json").exists() else ["no report"]),
            *find(ledger, marked=()).describe(),
            *(f"guardian {each.pid}" for each in guardians(run.folder)),
        ]

    wait_for(
        lambda: not left(),
        what=f"the run in {run.folder} has ended",
        timeout_s=LIMIT_S,
        interval_s=0.5,
        last_seen=left,
    )
