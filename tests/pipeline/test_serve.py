"""`kvsync-ci serve` whose services, or itself, are killed; what it is for is in test_daily_use.py."""

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from deployments.service.password import kept_password
from deployments.service.serve import surroundings
from kvsync.ci.settings import ServeSettings
from kvsync.testing.processes.wait import wait_for
from tests.pipeline.conftest import PROGRAM, ROOT, Pipeline, free_port, left_of_serve, words

Repository = Callable[..., str]

HANGING = "import time\n\ndef test_endless():\n    time.sleep(3600)\n"
SIGNS = "of-the-webhook"

pytestmark = pytest.mark.timeout(600)


@dataclass(slots=True)
class Served:
    """A serve on a report folder of its own, and its API."""

    pipeline: Pipeline
    api: httpx.Client
    port: int
    process: subprocess.Popen[str]

    @property
    def reports(self) -> Path:
        """The report folder."""
        return self.pipeline.reports

    def start_run(self, repository: str) -> str:
        """Ask for a run of the stage unit; returns the id of the flow run."""
        deployment = self.api.get("/deployments/name/pipeline/adhoc").json()
        given = {"stages": ["unit"], "repository": repository}
        parameters = {"parameters": {**deployment["parameters"]["parameters"], **given}}
        url = f"/deployments/{deployment['id']}/create_flow_run"

        def made() -> str | None:
            """Ask again when SQLite is busy, as Prefect's own clients do: nothing was made then."""
            answer = self.api.post(url, json={"parameters": parameters})
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                return None
            answer.raise_for_status()
            return str(answer.json()["id"])

        return wait_for(made, what="the run is made", timeout_s=30)

    def state(self, flow_run: str) -> str:
        """Return the name of a flow run's state."""
        return str(self.api.get(f"/flow_runs/{flow_run}").json()["state"]["name"])

    def child(self, name: str) -> psutil.Process:
        """Return the service with this name in its command line."""
        services = psutil.Process(self.process.pid).children()
        return next(each for each in services if name in _line(each))


def _line(process: psutil.Process) -> str:
    return " ".join(words(process))


def _begin(reports: Path, port: int) -> Served:
    env = {**os.environ, "PREFECT_API_URL": "", "PREFECT_API_AUTH_STRING": ""}
    env |= {"KVSYNC_CI_SERVE_PORT": str(port), "KVSYNC_CI_SERVE_REPORTS_PORT": str(free_port())}
    clients = surroundings(reports, ServeSettings(port=port), env)
    webhook = {"KVSYNC_CI_WEBHOOK_PORT": str(free_port()), "KVSYNC_CI_WEBHOOK_SECRET": SIGNS}

    def log_in(request: httpx.Request) -> httpx.Request:
        user, _, password = kept_password(reports).partition(":")
        return next(httpx.BasicAuth(user, password).auth_flow(request))

    return Served(
        Pipeline(reports=reports, env=clients | {"PREFECT_HOME": str(reports.parent / "home")}),
        httpx.Client(base_url=clients["PREFECT_API_URL"], auth=log_in, timeout=20),
        port,
        Pipeline(reports=reports, env=env | webhook).start("serve"),
    )


def _until_ready(served: Served) -> list[str]:
    """Return what serve prints until it is ready."""
    assert served.process.stdout
    lines: list[str] = []
    for line in served.process.stdout:
        lines.append(line.strip())
        if "Ctrl-C" in line:
            return lines
    raise AssertionError("\n".join(lines))


@contextmanager
def _serving(reports: Path, port: int) -> Iterator[Served]:
    """A serve that is ended in any case."""
    served = _begin(reports, port)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
        if served.process.stdout:
            served.process.stdout.close()
        served.process.wait(timeout=10)
        served.api.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A serve on a report folder with nothing in it."""
    with _serving(tmp_path / "reports", free_port()) as served:
        yield served


def _wait_for_state(served: Served, flow_run: str, state: str) -> None:
    wait_for(
        lambda: served.state(flow_run) == state,
        what=f"the flow run is {state}",
        timeout_s=120,
        interval_s=0.5,
        last_seen=lambda: served.state(flow_run),
    )


@pytest.mark.full
def test_what_is_killed_is_started_again_and_a_stop_ends_the_runs(
    served: Served, repository: Repository
) -> None:
    """All services come back; on SIGTERM a run ends with its report, a true state and no process."""
    _until_ready(served)
    victims = [
        served.child(name) for name in ("server start", "worker start", "deployments.service.caretaker")
    ]
    for victim in victims:
        victim.kill()
    hanging = repository(unit=HANGING)
    wait_for(lambda: _answers(served), what="there is a new server", timeout_s=90, interval_s=0.5)
    flow_run = served.start_run(hanging)
    wait_for(lambda: _hangs(served), what="the endless test has begun", timeout_s=120, interval_s=0.5)

    served.process.terminate()
    printed, _ = served.process.communicate(timeout=120)

    assert printed.count("ended with SIGKILL and starts again in 0 s") == 3
    assert left_of_serve(served.reports) == []
    (run,) = served.pipeline.runs()
    assert (run / "report.json").exists()
    assert _ended_as(served, flow_run) == "Crashed"


def _answers(served: Served) -> bool:
    try:
        return served.api.get("/health").is_success
    except httpx.TransportError:
        return False


def _hangs(served: Served) -> bool:
    return any(
        "test_endless" in path.read_text() for path in served.reports.glob("*/history/unit-tests.jsonl")
    )


def _ended_as(served: Served, flow_run: str) -> str:
    """Read the state of a flow run from the database of a server that is gone."""
    with sqlite3.connect(served.reports / ".prefect" / "prefect.db") as database:
        query = "SELECT state_name FROM flow_run WHERE replace(id, '-', '') = ?"
        return str(database.execute(query, [flow_run.replace("-", "")]).fetchone()[0])


@pytest.mark.full
def test_a_killed_serve_takes_everything_with_it(served: Served, repository: Repository) -> None:
    """After SIGKILL its services are gone, its run ends with a report, and the next serve tells Prefect."""
    _until_ready(served)
    flow_run = served.start_run(repository(unit=HANGING))
    wait_for(lambda: _hangs(served), what="the endless test has begun", timeout_s=120, interval_s=0.5)

    served.process.kill()
    served.process.communicate(timeout=10)
    wait_for(
        lambda: not [line for line in left_of_serve(served.reports) if "tasks.guardian" not in line],
        what="only what still waits for a server is there",
        timeout_s=60,
        interval_s=0.5,
        last_seen=lambda: left_of_serve(served.reports),
    )

    with _serving(served.reports, served.port) as again:
        _until_ready(again)
        _wait_for_state(again, flow_run, "Crashed")
        (run,) = served.pipeline.runs()
        assert (run / "report.json").exists()
        again.process.terminate()
        again.process.communicate(timeout=120)
    assert left_of_serve(again.reports) == []


def test_without_a_server_deploy_says_what_to_do(tmp_path: Path) -> None:
    """Exit status 2 within seconds, and the mend."""
    env = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path)}
    done = subprocess.run(
        [*PROGRAM, "deploy"], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 2
    assert "no Prefect server answers at http://127.0.0.1:9/api" in done.stderr
    assert "start one with `kvsync-ci serve`" in done.stderr
