"""A Prefect server for the tests of the pipeline, and small repositories for it to test."""

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import httpx
import psutil
import pytest

from deployments.database import lay_out
from deployments.launch import environment
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES
from kvsync.testing.processes.ledger import leftovers
from kvsync.testing.processes.wait import wait_for
from tests.forking import COMMAND, Forking, forking
from tests.projects import make_project

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-c", COMMAND]
IMPORTED = (
    *("deployments.cli", "deployments.launch", "flows.pipeline"),
    *("kvsync.ci.page.page", "kvsync.ci.site.pages", "kvsync.ci.stages.making"),
    *("prefect.artifacts", "prefect.main", "prefect.task_engine"),
)
"""What a run imports, which is half of what one of few tests costs."""

IDLE = {
    f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false"
    for service in ("SCHEDULER", "LATE_RUNS", "FOREMAN", "PAUSE_EXPIRATIONS", "REPOSSESSOR", "TRIGGERS")
} | {"PREFECT_SERVER_UI_ENABLED": "false"}
"""What the tests' server does without, a quarter of its cost; `serve` is tested with all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """`kvsync-ci` with a report folder and a Prefect server of its own."""

    reports: Path
    env: Mapping[str, str]
    fork: Forking | None = None
    """Where a process that has imported what commands need runs them, unless one is only started."""

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command without waiting for it."""
        return subprocess.Popen(
            [*PROGRAM, *words, "--report-dir", str(self.reports)],
            env=dict(self.env),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __call__(self, *words: str) -> tuple[int, list[str]]:
        """Run a command to its end; returns its exit status and the lines it printed."""
        if self.fork:
            done = self.fork(COMMAND, *words, "--report-dir", str(self.reports), env=self.env, cwd=ROOT)
            return done.returncode, done.stdout.splitlines()
        process = self.start(*words)
        printed, _ = process.communicate(timeout=240)
        return process.returncode, printed.splitlines()

    def runs(self) -> list[Path]:
        """Return the folders of the runs so far, the oldest first."""
        return sorted(ledger.parent for ledger in self.reports.glob("*/ledger.jsonl"))


def free_port() -> int:
    """Return a port of loopback that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Prefect server, so that not every run has to start one."""
    home = tmp_path_factory.mktemp("prefect")
    port = str(free_port())
    env = environment(home, {**os.environ, "PREFECT_API_URL": "", **IDLE})
    lay_out(Path(env["PREFECT_HOME"]))
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}/api"
    try:
        wait_for(lambda: _healthy(url), timeout_s=120, interval_s=0.3, what="the Prefect server answers")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2, verify=NO_CERTIFICATES).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def fork(server: str) -> Iterator[Forking]:
    """Run commands that have imported Prefect, which reads at once where its server is."""
    with forking(*IMPORTED, env={**os.environ, "PREFECT_API_URL": server}) as fork:
        yield fork


@pytest.fixture
def pipeline(server: str, tmp_path: Path, fork: Forking) -> Pipeline:
    """The command, with nothing in its report folder."""
    return Pipeline(reports=tmp_path / "reports", env={**os.environ, "PREFECT_API_URL": server}, fork=fork)


def write_repository(folder: Path, **stages: str) -> str:
    """Make a repository from the texts of its stages' test files; returns its path."""
    project = make_project(folder / "repository")
    for stage, text in stages.items():
        tests = project / "tests" / stage
        tests.mkdir(parents=True)
        (tests / f"test_{stage}.py").write_text(textwrap.dedent(text))
    return str(project)


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., str]:
    """Make a repository of the test's own."""
    return partial(write_repository, tmp_path)


def words(process: psutil.Process) -> list[str]:
    """Return the command line of a process that may just be ending."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def left_of_serve(reports: Path) -> list[str]:
    """Return the command lines of all living processes that `serve` started on a report folder."""
    home = str(reports / ".prefect")
    found = [each for each in psutil.process_iter() if _environment(each).get("PREFECT_HOME") == home]
    return [line for each in found if (line := " ".join(words(each)))]


def _environment(process: psutil.Process) -> Mapping[str, str]:
    try:
        return {} if process.status() == psutil.STATUS_ZOMBIE else process.environ()
    except (psutil.Error, OSError):
        return {}


def guardians(folder: Path) -> list[psutil.Process]:
    """Return the processes that look after a run."""
    return [each for each in psutil.process_iter() if str(folder) in words(each)]


def flow_of(folder: Path) -> psutil.Process:
    """Return the process in which the flow of a run goes on."""
    (entry,) = (each for each in leftovers([folder / "ledger.jsonl"]) if each.name == "pipeline")
    return psutil.Process(cast("int", entry.facts["pid"]))
