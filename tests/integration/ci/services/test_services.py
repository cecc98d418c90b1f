"""Stages with services: real servers, started for one stage and gone after it."""

import json
import re
import secrets
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kvsync.ci.box.box import Box
from kvsync.ci.cleaning.residue import find
from kvsync.ci.project.choice import stages_of
from kvsync.ci.project.reading import parse_project
from kvsync.ci.settings import ServiceSettings
from kvsync.ci.stages.making import make_served
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.outcome import Outcome, StageResult

SERVER = """
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/end":
            os._exit(3)
        self.send_response(int(self.path.lstrip("/") or 200))
        self.end_headers()
        self.wfile.write((os.environ.get("GREETING", "") + os.environ.get("BACK_PORT", "")).encode())

folder = os.environ.get("FOLDER", "")
print("listening folder", os.path.isdir(folder), os.path.basename(folder), flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

TESTS = """
import os, sys, urllib.request

def test_it():
    said = urllib.request.urlopen(os.environ["FRONT_URL"]).read().decode()
    assert said == "hello" + os.environ["BACK_PORT"]
    assert os.environ["MINE"] == os.environ["FRONT_URL"] + "/x"
"""

END = """
import contextlib, sys, urllib.request

with contextlib.suppress(OSError):
    urllib.request.urlopen(sys.argv[1])
"""

PROJECT = """
[services.front]
kind = "process"
command = ["{python}", "server.py", "{port}"]
ready = "{url}/204"
needs = "back"
environment = {GREETING = "hello", FOLDER = "{folder}"}

[services.back]
kind = "process"
command = ["{python}", "server.py", "{port}"]
ready = "tcp://{host}:{port}"

[stages.whole]
kind = "pytest"
folder = "tests"
needs = "front"
environment = {MINE = "{services.front.url}/x"}

[stages.ending]
kind = "command"
command = ["{python}", "end.py", "{services.back.url}/end"]
needs = "back"
"""

RunStage = Callable[..., StageResult]


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """A repository with a server and a test of it, and a run beside it."""
    (tmp_path / "repository" / "tests").mkdir(parents=True)
    (tmp_path / "repository" / "server.py").write_text(SERVER)
    (tmp_path / "repository" / "tests" / "test_it.py").write_text(TESTS)
    (tmp_path / "repository" / "end.py").write_text(END)
    run_dir = tmp_path / f"run-{secrets.token_hex(4)}"  # processes of other runs are none of ours
    return StageContext(
        run_dir=run_dir,
        repository=tmp_path / "repository",
        ledger=Ledger(run_dir / "ledger.jsonl"),
        stop=threading.Event(),
    )


@pytest.fixture
def run_stage(context: StageContext) -> RunStage:
    """Run a stage of a project, with some of its text replaced."""

    def run(name: str, *changes: tuple[str, str], inside: StageContext = context) -> StageResult:
        text = PROJECT.replace("{python}", sys.executable)
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        project = parse_project(text)
        stage = make_served(stages_of(project)[name], 60.0, project.services, ServiceSettings())
        return run_safely(stage, inside)

    return run


def test_a_stage_finds_what_it_needs_and_nothing_is_left(context: StageContext, run_stage: RunStage) -> None:
    """Also what only its services need; logs stay, and the result says what was used."""
    result = run_stage("whole")

    assert (result.outcome, result.reason) == (Outcome.PASSED, "")
    assert [each.partition(": ")[0] for each in result.remarks] == ["service back", "service front"]
    said = (context.run_dir / "logs" / "services" / "whole" / "front.log").read_text()
    folder = re.search(r"listening folder True (kvsync-\w+)", said)
    assert folder
    assert not (Path(tempfile.gettempdir()) / folder[1]).exists()
    started = [json.loads(line) for line in context.ledger.path.read_text().splitlines()]
    names = [str(each.get("name", "")) for each in started]
    assert [name for name in names if name.startswith("service")] == ["service back", "service front"]
    assert not find(context.ledger.path, marked=[])


@pytest.mark.parametrize(
    ("before", "after", "reason", "logged"),
    [
        (
            '"{url}/204"',
            '"{url}/503"',
            "service 'front' was not ready within 1 s: .*/503 answers with status 503;",
            "listening",
        ),
        (
            'server.py", "{port}"]\nready = "{url}',
            'none.py", "{port}"]\nready = "{url}',
            "service 'front' ended by itself after .*, before it was ready, with exit status 2: .*No such",
            "No such file",
        ),
    ],
)
def test_what_does_not_become_ready_makes_nothing_green(
    run_stage: RunStage, context: StageContext, before: str, after: str, reason: str, logged: str
) -> None:
    """The reason says why, with the end of its log; what was started before it has ended."""
    result = run_stage(
        "whole", (before, after), ('needs = "back"\nenv', 'needs = "back"\nstart_timeout = 1\nenv')
    )

    assert result.outcome is Outcome.UNKNOWN
    assert re.match(f"not run: {reason}", result.reason)
    assert logged in result.checks[0].detail
    assert not find(context.ledger.path, marked=[])


def test_in_a_box_nothing_is_started(run_stage: RunStage, context: StageContext) -> None:
    """It has no network, so that its tests would find nothing; the reason says what to do."""
    result = run_stage("whole", inside=replace(context, box=Box()))

    assert result.outcome is Outcome.UNKNOWN
    assert result.reason.startswith("not run: it needs back, front, and in a box there are no services: run")
    assert not (context.run_dir / "logs").exists()


def test_a_program_that_is_not_there_is_said_before_anything_starts(
    run_stage: RunStage, context: StageContext
) -> None:
    """With what mends it."""
    front = f'"{sys.executable}", "server.py", "{{port}}"]\nready = "{{url}}'
    result = run_stage("whole", (front, '"bin/front", "{port}"]\nready = "{url}'))

    assert result.outcome is Outcome.UNKNOWN
    assert "there is no bin/front; install it" in result.reason
    assert not context.ledger.path.exists()


def test_a_service_that_ends_while_the_stage_runs_leaves_a_doubt(run_stage: RunStage) -> None:
    """Whatever the tests say that passed meanwhile."""
    result = run_stage("ending")

    assert result.outcome is Outcome.UNKNOWN
    assert result.reason.startswith("service 'back' ended by itself with exit status 3")


def test_an_interruption_ends_the_wait_for_a_service(run_stage: RunStage, context: StageContext) -> None:
    """The stage is unknown, and nothing stays."""
    results: list[StageResult] = []
    change = ("{url}/204", "{url}/503")
    thread = threading.Thread(target=lambda: results.append(run_stage("whole", change)))
    thread.start()
    log = context.run_dir / "logs" / "services" / "whole" / "front.log"
    wait_for(lambda: log.exists() and log.read_text(), what="front starts", timeout_s=20)
    context.stop.set()
    thread.join(50)

    assert (results[0].outcome, results[0].reason) == (Outcome.UNKNOWN, "not run: the run was interrupted")
    assert not find(context.ledger.path, marked=[])
