"""The whole of it: one command, a signed delivery, a run of its commit, statuses, a stored report, the UI.

One `serve` for all tests of this file: starting it costs as much as two runs. The last one ends it.
"""

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import httpx
import psutil
import pytest
from moto.server import ThreadedMotoServer
from playwright.sync_api import sync_playwright

from deployments.service.password import kept_password
from deployments.service.serve import surroundings
from kvsync.ci.cleaning.residue import find
from kvsync.ci.notify.github_double import FakeGitHub
from kvsync.ci.settings import ServeSettings
from kvsync.testing.processes.wait import wait_for
from tests.payloads.recorded import payload
from tests.pipeline.conftest import ROOT, Pipeline, free_port, left_of_serve, words
from tests.pipeline.webhook.conftest import NAME, SECRET, headers

pytestmark = pytest.mark.timeout(900)

TOKEN = "ghp_0123456789abcdef"  # noqa: S105  # of the double
BUCKET = "reports"
STAGES = ("unit", "integration", "shell")
PASSING = "def test_it():\n    pass\n"
JUNIT = "<testsuite tests='1'><testcase classname='shell' name='good'/></testsuite>"
DESCRIBED = f"""
[stages.unit]
kind = "pytest"
folder = "tests/unit"

[stages.integration]
kind = "pytest"
folder = "tests/integration"
needs = "unit"

[stages.shell]
kind = "command"
command = ["sh", "-c", "echo \\"{JUNIT}\\" > {{out}}/junit.xml"]
results = "{{out}}/junit.xml"

[stages.night]
kind = "command"
command = ["false"]
when = {{triggers = ["schedule"]}}
"""
"""What the pushed commit says of its stages."""

LOOKS = """
import os

def test_sees_no_password():
    assert not [name for name, value in os.environ.items() if {password!r} in value or "AUTH" in name]
"""

FINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}
DELIVERIES = 20
KILLED_EVERY_S = 6.0
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SERVICES = ("deployments.webhook", "prefect worker", "prefect server")


@dataclass(slots=True)
class Daily:
    """`kvsync-ci serve` with a receiver, a store and a double of GitHub, and the commit that is pushed."""

    pipeline: Pipeline
    process: subprocess.Popen[str]
    lines: list[str]
    commit: str
    web: str
    api: httpx.Client
    receiver: str
    github: FakeGitHub
    accepted: list[str] = field(default_factory=list)

    def push(self) -> None:
        """Deliver a push until it is accepted, as GitHub does when somebody presses `redeliver`."""
        delivery = str(uuid4())
        body = json.dumps(payload("push", after=self.commit)).encode()

        def accepted() -> bool:
            try:
                answer = httpx.post(
                    f"{self.receiver}/github",
                    content=body,
                    headers=headers("push", body, delivery),
                    timeout=5,
                )
            except httpx.TransportError:
                return False
            return answer.is_success

        wait_for(accepted, what="the delivery is accepted", timeout_s=120, interval_s=0.2)
        self.accepted.append(delivery)

    def runs(self) -> list[dict[str, Any]]:
        """Return the flow runs that deliveries started; while the server is away, none."""
        try:
            found: list[dict[str, Any]] = self.api.post("/flow_runs/filter", json={}).json()
        except (httpx.TransportError, ValueError):
            return []
        return [run for run in found if str(run["idempotency_key"]).startswith("github-")]

    def ended(self) -> list[dict[str, Any]] | None:
        """Return the flow runs when there is one for each delivery and all have ended."""
        runs = self.runs()
        over = all(run["state_type"] in FINAL for run in runs)
        return runs if over and len(runs) >= len(self.accepted) else None

    def planned(self) -> set[tuple[str, str]]:
        """Return the names and times of day of the deployments that will start by themselves."""
        names = {each["id"]: each["name"] for each in self.api.post("/deployments/filter", json={}).json()}
        scheduled = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        runs = self.api.post("/flow_runs/filter", json=scheduled).json()
        return {
            (names[run["deployment_id"]], run["expected_start_time"].partition("T")[2].partition(".")[0])
            for run in runs
        }

    def service(self, name: str) -> psutil.Process | None:
        """Return the service of serve with this name in its command line, None while there is none."""
        services = psutil.Process(self.process.pid).children()
        return next((each for each in services if name in " ".join(words(each))), None)


def _commit(folder: Path, password: str) -> str:
    for stage, test in zip(STAGES, (LOOKS.format(password=password), PASSING), strict=False):
        (folder / "tests" / stage).mkdir(parents=True)
        (folder / "tests" / stage / f"test_{stage}.py").write_text(test)
    (folder / "stages.toml").write_text(DESCRIBED)
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], check=True)
    asked = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return asked.stdout.strip()


@pytest.fixture(scope="module")
def github() -> Iterator[FakeGitHub]:
    """GitHub, with the repository of the recorded payloads."""
    with FakeGitHub(NAME, token=TOKEN) as double:
        yield double


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server with a bucket; returns its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    _s3(url).create_bucket(Bucket=BUCKET)
    yield url
    server.stop()


def _s3(url: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",  # noqa: S106  # moto takes any
    )


@pytest.fixture(scope="module")
def daily(tmp_path_factory: pytest.TempPathFactory, github: FakeGitHub, s3: str) -> Iterator[Daily]:
    """Everything started and ready. What git would fetch from GitHub lies in a folder beside it."""
    folder = tmp_path_factory.mktemp("daily")
    upstream, reports = folder / "upstream", folder / "reports"
    config = folder / "gitconfig"
    config.write_text(f'[url "{upstream.as_uri()}"]\n\tinsteadOf = https://github.com/{NAME}.git\n')
    port, hook = free_port(), free_port()
    env = {
        **os.environ,
        "PREFECT_API_URL": "",
        "PREFECT_API_AUTH_STRING": "",
        "GIT_CONFIG_GLOBAL": str(config),
        "KVSYNC_CI_SERVE_PORT": str(port),
        "KVSYNC_CI_SERVE_REPORTS_PORT": str(free_port()),
        "KVSYNC_CI_WEBHOOK_PORT": str(hook),
        "KVSYNC_CI_WEBHOOK_REPOSITORIES": NAME,
        "KVSYNC_CI_GITHUB_TOKEN": TOKEN,
        "KVSYNC_CI_GITHUB_API_URL": github.url,
        "KVSYNC_CI_STORE_URL": f"s3://{BUCKET}/ci",
        "KVSYNC_CI_STORE_ENDPOINT_URL": s3,
        "KVSYNC_CI_STORE_LINKS": "static",
        "KVSYNC_CI_STORE_LINK_BASE": f"{s3}/{BUCKET}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    process = Pipeline(reports=reports, env=env | {"KVSYNC_CI_WEBHOOK_SECRET": SECRET}).start("serve")
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if "Ctrl-C" in line:
            break
    else:
        raise AssertionError("\n".join(lines))
    clients = surroundings(reports, ServeSettings(port=port), env)
    password = kept_password(reports)
    with httpx.Client(base_url=clients["PREFECT_API_URL"], auth=_login(password), timeout=20) as api:
        yield Daily(
            pipeline=Pipeline(reports=reports, env=clients | {"PREFECT_HOME": str(folder / "home")}),
            process=process,
            lines=lines,
            commit=_commit(upstream, password),
            web=f"http://127.0.0.1:{port}",
            api=api,
            receiver=f"http://127.0.0.1:{hook}",
            github=github,
        )
    if process.poll() is None:
        process.terminate()
        print(*lines, process.communicate(timeout=200)[0], sep="\n")


def _login(password: str) -> tuple[str, str]:
    user, _, secret = password.partition(":")
    return user, secret


def test_one_command_says_where_everything_is(daily: Daily) -> None:
    """UI and API answer; since deliveries start runs, the API has a password, which is nobody else's."""
    kept = daily.pipeline.reports / ".prefect" / "password"
    assert daily.lines[0].startswith(f"repository {ROOT}")
    assert daily.lines[1] == f"Prefect's password: in {kept}"
    assert daily.lines[2].split() == ["Prefect's", "UI:", daily.web]
    password = kept_password(daily.pipeline.reports)
    assert (stat.S_IMODE(kept.stat().st_mode), len(password) > 40) == (0o600, True)
    assert httpx.get(f"{daily.web}/api/health", timeout=5).json() is True
    assert "<html" in httpx.get(daily.web, timeout=5, follow_redirects=True).text
    assert httpx.post(f"{daily.web}/api/flows/filter", timeout=5).status_code == 401


def test_a_push_ends_in_statuses_and_a_stored_report(daily: Daily, s3: str, tmp_path: Path) -> None:
    """The statuses link the report on S3, which says what the run found; the UI shows run and verdict.

    Its tests do not see Prefect's password, with which the report is also read here.
    """
    daily.push()

    (run,) = wait_for(daily.ended, what="the run has ended", timeout_s=300, interval_s=0.5)

    assert (run["state_name"], run["name"].split()[:2]) == ("Completed", ["push", daily.commit[:10]])
    names = ("kvsync-ci", *(f"kvsync-ci/{stage}" for stage in STAGES))
    assert daily.github.states(daily.commit) == dict.fromkeys(names, "success")
    (link,) = {status.target_url or "" for status in daily.github.statuses if status.state == "success"} - {
        ""
    }
    key = link.removeprefix(f"{s3}/{BUCKET}/")
    page = _s3(s3).get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    assert "PASSED" in page
    assert daily.commit in page
    keys = [each["Key"] for each in _s3(s3).list_objects_v2(Bucket=BUCKET)["Contents"]]
    folder = key.removesuffix("report.html")
    assert {f"{folder}{name}" for name in ("report.json", "manifest.json", "junit/unit.xml")} <= set(keys)
    of_run = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
    artifacts = daily.api.post("/artifacts/filter", json=of_run).json()
    assert {"verdict", "stages", "report"} <= {artifact["key"] for artifact in artifacts}
    assert link in "".join(str(artifact["data"]) for artifact in artifacts)
    password, (here,) = kept_password(daily.pipeline.reports), daily.pipeline.runs()
    reports = next(line.split()[1] for line in daily.lines if line.startswith("reports:")).rstrip(",")
    served = f"{reports}/{here.name}/report.html"
    assert httpx.get(served, timeout=5).status_code == 401
    assert httpx.get(served, auth=_login(password), timeout=5).text == page
    if CHROMIUM:
        look(daily.web, password, run["id"], f"push {daily.commit[:10]}", tmp_path)


def look(web: str, password: str, run: str, title: str, folder: Path) -> None:
    """Open the page of a run as a person who is logged in, wait for its title and verdict, keep pictures."""
    kept = Path(os.environ.get("KVSYNC_CI_TEST_SCREENSHOTS", folder))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        page.add_init_script(f"localStorage.setItem('prefect-password', btoa({json.dumps(password)}))")
        page.goto(f"{web}/runs/flow-run/{run}")
        page.get_by_text(title).first.wait_for(timeout=60_000)
        page.screenshot(path=kept / "run.png", full_page=True)
        page.get_by_text("Artifacts", exact=True).first.click()
        page.get_by_text("PASSED").first.wait_for(timeout=60_000)
        page.screenshot(path=kept / "artifacts.png", full_page=True)
        browser.close()


@pytest.mark.full
def test_each_delivery_ends_in_one_run_whatever_is_killed(daily: Daily, seed: int) -> None:
    """Receiver, worker and server die at random moments; no accepted delivery is lost or run twice."""
    rng = random.Random(seed)
    killed: list[str] = []
    next_at = time.monotonic()

    def kill_something() -> None:
        nonlocal next_at
        if time.monotonic() < next_at or len(killed) >= DELIVERIES:
            return
        name = rng.choice(SERVICES)
        if service := daily.service(name):
            service.kill()
            killed.append(name)
        next_at = time.monotonic() + rng.uniform(0.5, 2) * KILLED_EVERY_S

    for _ in range(DELIVERIES):
        kill_something()
        daily.push()

    def ended() -> list[dict[str, Any]] | None:
        kill_something()
        return daily.ended() if len(killed) >= DELIVERIES else None

    runs = wait_for(ended, what="all runs have ended", timeout_s=40 * DELIVERIES, interval_s=0.5)

    assert sorted(run["idempotency_key"] for run in runs) == sorted(
        f"github-{delivery}" for delivery in daily.accepted
    )
    folders = daily.pipeline.runs()
    assert [folder.name for folder in folders if find(folder / "ledger.jsonl")] == []
    judged = [folder for folder in folders if (folder / "report.json").exists()]
    print(f"killed: {killed}; states: {sorted(run['state_name'] for run in runs)}")
    assert judged == folders


def test_the_next_nights_are_planned(daily: Daily) -> None:
    """By what `serve` deployed; our commands find its password, and would deploy nothing else."""
    wait_for(
        lambda: daily.planned() == {("nightly", "03:00:00Z"), ("weekly", "02:00:00Z")},
        what="the next nights are planned",
        timeout_s=60,
        interval_s=0.5,
        last_seen=daily.planned,
    )
    status, (subject, heads, *table) = daily.pipeline("deploy")
    assert (subject.partition(" ")[0], heads.split()[0]) == ("repository", "deployment")
    assert (status, {line.split()[-1] for line in table}) == (0, {"unchanged"})


def test_a_folder_is_served_once(daily: Daily) -> None:
    """A second `serve` says which process was first."""
    status, lines = daily.pipeline("serve")
    reports, first = daily.pipeline.reports, daily.process.pid
    assert (status, lines[-1].partition(";")[0]) == (2, f"{reports} is served already, by process {first}")


def test_ctrl_c_ends_it_all(daily: Daily) -> None:
    """Nothing is left of it."""
    daily.process.send_signal(signal.SIGINT)
    printed, _ = daily.process.communicate(timeout=200)

    assert daily.process.returncode == 0, printed
    assert left_of_serve(daily.pipeline.reports) == []
