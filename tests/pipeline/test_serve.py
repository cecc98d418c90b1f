"""`kvsync-ci serve`, started for real: server, worker, deployments, runs and their ends."""

import json
import os
import signal
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
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
from tests.pipeline.conftest import COMMAND, ROOT, Pipeline, free_port, words

Repository = Callable[..., str]

LOOKS = """
    import os

    def test_sees_no_password():
        assert not [name for name, value in os.environ.items() if {password!r} in value or "AUTH" in name]
"""
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

    @property
    def password(self) -> str:
        """What its API wants."""
        return kept_password(self.reports)

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

    def planned(self) -> set[tuple[str, str]]:
        """Return the names and times of day of the deployments that will start by themselves."""
        names = {each["id"]: each["name"] for each in self.api.post("/deployments/filter", json={}).json()}
        scheduled = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        runs = self.api.post("/flow_runs/filter", json=scheduled).json()
        return {
            (names[run["deployment_id"]], run["expected_start_time"].partition("T")[2].partition(".")[0])
            for run in runs
        }

    def child(self, name: str) -> psutil.Process:
        """Return the service with this name in its command line."""
        services = psutil.Process(self.process.pid).children()
        return next(each for each in services if name in _line(each))

    def left(self) -> list[str]:
        """Return the command lines of all living processes that work on this report folder."""
        home = str(self.reports / ".prefect")
        found = [each for each in psutil.process_iter() if _environment(each).get("PREFECT_HOME") == home]
        return [line for line in map(_line, found) if line]


def _line(process: psutil.Process) -> str:
    return " ".join(words(process))


def _environment(process: psutil.Process) -> Mapping[str, str]:
    try:
        return {} if process.status() == psutil.STATUS_ZOMBIE else process.environ()
    except (psutil.Error, OSError):
        return {}


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


def test_one_command_is_enough_to_run_the_pipeline(served: Served, repository: Repository) -> None:
    """UI and API answer; a run is carried out, the next nights are planned; Ctrl-C ends it all.

    Since deliveries start runs, the API has a password, which our commands find and tests do not see. The
    report is read with the same one, and Prefect leads to it.
    """
    lines = _until_ready(served)
    address, kept = f"http://127.0.0.1:{served.port}", served.reports / ".prefect" / "password"
    assert lines[0].startswith(f"repository {ROOT}")
    assert lines[1] == f"Prefect's password: in {kept}"
    assert lines[2].split() == ["Prefect's", "UI:", address]
    assert (stat.S_IMODE(kept.stat().st_mode), len(served.password) > 40) == (0o600, True)
    assert httpx.get(f"{address}/api/health", timeout=5).json() is True
    assert "<html" in httpx.get(address, timeout=5, follow_redirects=True).text
    assert httpx.post(f"{address}/api/flows/filter", timeout=5).status_code == 401

    passing = served.start_run(repository(unit=LOOKS.format(password=served.password)))
    _wait_for_state(served, passing, "Completed")
    (run,) = served.pipeline.runs()
    assert json.loads((run / "report.json").read_text())["verdict"] == "passed"
    address = next(line.split()[1] for line in lines if line.startswith("reports:")).rstrip(",")
    page = f"{address}/{run.name}/report.html"
    user, _, password = served.password.partition(":")
    assert httpx.get(page, timeout=5).status_code == 401
    assert httpx.get(page, auth=(user, password), timeout=5).text == (run / "report.html").read_text()
    shown = served.api.post("/artifacts/filter", json={"artifacts": {"key": {"any_": ["report"]}}}).json()
    assert [f"<{page}>" in each["data"] for each in shown] == [True]

    wait_for(
        lambda: served.planned() == {("nightly", "03:00:00Z"), ("weekly", "02:00:00Z")},
        what="the next nights are planned",
        timeout_s=60,
        last_seen=served.planned,
    )
    status, printed = served.pipeline("deploy")
    subject, heads, *table = printed
    assert (subject.partition(" ")[0], heads.split()[0]) == ("repository", "deployment")
    assert (status, {line.split()[-1] for line in table}) == (0, {"unchanged"})
    status, lines = served.pipeline("serve")
    assert (status, lines[-1].partition(";")[0]) == (
        2,
        f"{served.reports} is served already, by process {served.process.pid}",
    )

    served.process.send_signal(signal.SIGINT)
    served.process.communicate(timeout=60)
    assert served.process.returncode == 0
    assert served.left() == []


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
    assert served.left() == []
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
        lambda: not [line for line in served.left() if "tasks.guardian" not in line],
        what="only what still waits for a server is there",
        timeout_s=60,
        interval_s=0.5,
        last_seen=served.left,
    )

    with _serving(served.reports, served.port) as again:
        _until_ready(again)
        _wait_for_state(again, flow_run, "Crashed")
        (run,) = served.pipeline.runs()
        assert (run / "report.json").exists()
        again.process.terminate()
        again.process.communicate(timeout=120)
    assert again.left() == []


def test_without_a_server_deploy_says_what_to_do(tmp_path: Path) -> None:
    """Exit status 2 within seconds, and the mend."""
    env = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path)}
    done = subprocess.run(
        [*COMMAND, "deploy"], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 2
    assert "no Prefect server answers at http://127.0.0.1:9/api" in done.stderr
    assert "start one with `kvsync-ci serve`" in done.stderr
