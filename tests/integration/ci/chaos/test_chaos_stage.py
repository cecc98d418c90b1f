"""The kind `chaos`, from `stages.toml` to the result: services, faults, requests and data, all real."""

import secrets
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kvsync.ci.cleaning.residue import find
from kvsync.ci.page.evidence import Evidence
from kvsync.ci.project.choice import stages_of
from kvsync.ci.project.reading import parse_project
from kvsync.ci.settings import ServiceSettings
from kvsync.ci.stages.making import make_served
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import read
from kvsync.testing.results.outcome import Outcome, StageResult

BACK = """
import http.server, pathlib, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

pathlib.Path("starts").open("a").write("x")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

FRONT = """
import http.server, os, sys, urllib.request

def asked():
    try:
        return urllib.request.urlopen(os.environ["BACK_URL"], timeout=2).status
    except OSError:
        return 503

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204 if self.path == "/copes" else asked())
        self.end_headers()

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 200

Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

PROJECT = f"""
[services.back]
kind = "process"
command = ["{sys.executable}", "back.py", "{{port}}"]
ready = "{{url}}/"
[services.front]
kind = "process"
command = ["{sys.executable}", "front.py", "{{port}}"]
needs = "back"
ready = "{{url}}/copes"
[stages.load]
kind = "load"
needs = "front"
target = "{{services.front.url}}"
requests.all.path = "/{{page}}"
values.page = ["copes"]
phases = [{{kind = "hold", rate = 10, for = "1s"}}]
thresholds = "errors < 1 %"
[stages.chaos]
kind = "chaos"
needs = "front"
baseline = "500ms"
criteria = {{p95 = false, recovery = "1s"}}
"""

PROBED = """
steady = {probe = "{services.front.url}/PAGE", rate = 100, timeout = "3s"}
"""

FAULT = """
[stages.chaos.faults.NAME]
on = "back"
kind = "KIND"
for = "500ms"
"""

RunStage = Callable[..., StageResult]


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """A repository with two servers, and a run beside it."""
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "back.py").write_text(BACK)
    (tmp_path / "repository" / "front.py").write_text(FRONT)
    run_dir = tmp_path / f"run-{secrets.token_hex(4)}"  # processes of other runs are none of ours
    return StageContext(
        run_dir=run_dir,
        repository=tmp_path / "repository",
        ledger=Ledger(run_dir / "ledger.jsonl"),
        stop=threading.Event(),
    )


def run_stage(
    context: StageContext, text: str, *changes: tuple[str, str], longest_s: float = 60.0
) -> StageResult:
    """Run the chaos stage of a project, with some of its text replaced; nothing is left of it."""
    text = PROJECT + text
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    project = parse_project(text)
    stage = make_served(stages_of(project)["chaos"], longest_s, project.services, ServiceSettings())
    result = run_safely(stage, context)
    assert not find(context.ledger.path, marked=[])
    return result


def kinds(result: StageResult) -> dict[str, str]:
    """Return how each check ended."""
    return {each.name: each.kind for each in result.checks}


def fault(name: str, kind: str) -> str:
    """Return the table of a fault on the back."""
    return FAULT.replace("NAME", name).replace("KIND", kind)


def test_a_service_that_copes_passes_with_its_figures(context: StageContext) -> None:
    """Each criterion is a check; the report finds the fault, its requests and its recovery."""
    whole = f'whole = ["{sys.executable}", "-c", "print(1)"]\n'
    result = run_stage(context, whole + PROBED.replace("PAGE", "copes") + fault("gone", "outage"))

    assert result.outcome is Outcome.PASSED, result.reason
    assert list(kinds(result)) == [
        f"gone: {what}" for what in ("effect", "availability", "errors", "recovery", "data is whole")
    ]
    effect, availability, *_ = result.checks
    assert effect.detail == "a request is refused; afterwards: a request is answered"
    assert int(availability.properties["requests"]) > 20
    evidence = Evidence.from_records(read((context.run_dir / "history").glob("*.jsonl")))
    (seen,) = evidence.faults
    assert (seen.label, seen.test, seen.recovered) == ("ports blocked of back", "chaos::gone", True)
    assert seen.served is not None
    assert seen.served.ok
    assert len(evidence.requests["chaos::gone"]) > 50


def test_a_service_that_does_not_cope_fails_by_what_it_lost(context: StageContext) -> None:
    """A fault that cannot be injected is beside it, and not run; data that is not whole fails."""
    (context.repository / "whole.py").write_text(
        "import pathlib, sys\nsys.exit(len(pathlib.Path('starts').read_text()) - 1 and 'lost an item')"
    )
    whole = f'whole = ["{sys.executable}", "whole.py"]\n'
    faults = fault("killed", "kill") + fault("lossy", "loss")
    result = run_stage(context, whole + PROBED.replace("PAGE", "asks") + faults)

    assert kinds(result) == {
        "killed: effect": "passed",
        "killed: availability": "failed",
        "killed: errors": "failed",
        "killed: recovery": "passed",
        "killed: data is whole": "failed",
        "lossy: effect": "not-run",
    }
    assert result.checks[4].detail.endswith("exit status 1: lost an item")


def test_the_requests_of_a_load_stage_are_sent_at_a_rate_of_its_own(context: StageContext) -> None:
    """After what makes them ready."""
    setup = f'[stages.load]\nsetup = ["{sys.executable}", "-c", "open(\'ready\', \'w\')"]'
    steady = '\nsteady = {load = "load", rate = 100}\n'
    result = run_stage(context, steady + fault("gone", "partition"), ("[stages.load]", setup))

    assert result.outcome is Outcome.PASSED, result.reason
    assert int(result.checks[1].properties["requests"]) > 50
    assert (context.repository / "ready").exists()


def test_a_program_may_be_what_is_asked(context: StageContext) -> None:
    """It finds the services as tests do, and its exit status counts."""
    code = "import os, sys; sys.exit('BACK_URL' not in os.environ)"
    steady = f'\nsteady = {{probe = ["{sys.executable}", "-c", "{code}"], rate = 15}}\n'
    result = run_stage(context, steady + fault("gone", "pause"), ("500ms", "3s"))

    assert result.outcome is Outcome.PASSED, result.reason


def test_without_a_steady_state_nothing_is_disturbed(context: StageContext) -> None:
    """What is not served without a fault says nothing about one."""
    probed = PROBED.replace("{services.front.url}/PAGE", "http://127.0.0.1:1/")
    result = run_stage(context, probed + fault("gone", "kill"))

    assert kinds(result) == {"gone: effect": "inconclusive"}
    assert "no steady state: without a fault 0.00% of the requests were served" in result.reason
    assert (context.repository / "starts").read_text() == "x"


@pytest.mark.parametrize("how", ["interrupted", "late"])
def test_nothing_is_left_when_a_fault_is_broken_off(context: StageContext, how: str) -> None:
    """A paused service goes with the rest; what was not reached says why."""
    faults = fault("paused", "pause").replace("500ms", "50s") + fault("next", "outage")
    results: list[StageResult] = []
    longest_s = 60.0 if how == "interrupted" else 6.0
    text = PROBED.replace("PAGE", "copes") + faults
    thread = threading.Thread(target=lambda: results.append(run_stage(context, text, longest_s=longest_s)))
    thread.start()
    history = context.run_dir / "history" / "chaos.jsonl"
    wait_for(lambda: history.exists() and "start" in history.read_text(), what="the fault acts", timeout_s=30)
    if how == "interrupted":
        context.stop.set()
    thread.join(40)

    (result,) = results
    expected = "not-run" if how == "interrupted" else "timeout"
    assert kinds(result) == {"paused: effect": expected, "next: effect": "not-run"}
