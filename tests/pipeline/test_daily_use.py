"""The whole of it: a signed delivery, a run of its commit, statuses, a stored report, and the UI."""

import json
import os
import random
import shutil
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
from kvsync.ci.cleaning.residue import find
from kvsync.ci.notify.github_double import FakeGitHub
from kvsync.testing.processes.wait import wait_for
from tests.payloads.recorded import payload
from tests.pipeline.conftest import Pipeline, free_port, words
from tests.pipeline.webhook.conftest import NAME, SECRET, headers

pytestmark = pytest.mark.timeout(900)

TOKEN = "ghp_0123456789abcdef"  # noqa: S105  # of the double
BUCKET = "reports"
STAGES = ("unit", "integration", "shell")
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
    commit: str
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

    def service(self, name: str) -> psutil.Process | None:
        """Return the service of serve with this name in its command line, None while there is none."""
        services = psutil.Process(self.process.pid).children()
        return next((each for each in services if name in " ".join(words(each))), None)


def _commit(folder: Path) -> str:
    for stage in STAGES[:2]:
        (folder / "tests" / stage).mkdir(parents=True)
        test = f"def test_{stage}():\n    pass\n"
        (folder / "tests" / stage / f"test_{stage}.py").write_text(test)
    (folder / "stages.toml").write_text(DESCRIBED)
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], check=True)
    asked = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return asked.stdout.strip()


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    """GitHub, with the repository of the recorded payloads."""
    with FakeGitHub(NAME, token=TOKEN) as double:
        yield double


@pytest.fixture
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


@pytest.fixture
def daily(tmp_path: Path, github: FakeGitHub, s3: str) -> Iterator[Daily]:
    """Everything started and ready. What git would fetch from GitHub lies in a folder beside it."""
    upstream = tmp_path / "upstream"
    commit = _commit(upstream)
    config = tmp_path / "gitconfig"
    config.write_text(f'[url "{upstream.as_uri()}"]\n\tinsteadOf = https://github.com/{NAME}.git\n')
    port, hook = free_port(), free_port()
    env = {
        **os.environ,
        "PREFECT_API_URL": "",
        "GIT_CONFIG_GLOBAL": str(config),
        "KVSYNC_CI_SERVE_PORT": str(port),
        "KVSYNC_CI_SERVE_REPORTS_PORT": str(free_port()),
        "KVSYNC_CI_WEBHOOK_SECRET": SECRET,
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
    pipeline = Pipeline(reports=tmp_path / "reports", env=env)
    process = pipeline.start("serve")
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            break
    else:
        raise AssertionError("".join(lines))
    user, _, password = kept_password(pipeline.reports).partition(":")
    api = httpx.Client(base_url=f"http://127.0.0.1:{port}/api", auth=(user, password), timeout=20)
    yield Daily(pipeline, process, commit, api, f"http://127.0.0.1:{hook}", github)
    process.terminate()
    printed, _ = process.communicate(timeout=200)
    print("".join(lines), printed)
    api.close()


def test_a_push_ends_in_statuses_and_a_stored_report(daily: Daily, s3: str, tmp_path: Path) -> None:
    """The statuses link the report on S3, which says what the run found; the UI shows run and verdict."""
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
    if CHROMIUM:
        password = kept_password(daily.pipeline.reports)
        web = f"{daily.api.base_url}".removesuffix("/api/")
        look(web, password, run["id"], f"push {daily.commit[:10]}", tmp_path)


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
