"""Stages that offer requests: carried out against real servers, and judged by what came back."""

import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kvsync.ci.box.box import Box
from kvsync.ci.page.loads import loads_of
from kvsync.ci.project.choice import stages_of
from kvsync.ci.project.reading import parse_project
from kvsync.ci.settings import ServiceSettings
from kvsync.ci.stages.making import make_served
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.results.measurement import read_measurements
from kvsync.testing.results.outcome import Outcome, StageResult

STAGE = """
[stages.load]
kind = "load"
target = "{url}"
thresholds = ["p95 < 5 s", "errors of good < 5 %", "rate > 5"]
[stages.load.requests.good]
path = "/good"
timeout = "2s"
[[stages.load.phases]]
kind = "hold"
rate = 60
for = "1s"
"""


class Handler(BaseHTTPRequestHandler):
    """Answers, or breaks."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(500 if "bad" in self.path else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """Where a server listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """An empty repository, and a run beside it."""
    (tmp_path / "repository").mkdir()
    return StageContext(
        run_dir=tmp_path / "run-1",
        repository=tmp_path / "repository",
        ledger=Ledger(tmp_path / "run-1" / "ledger.jsonl"),
        seed=7,
        stop=threading.Event(),
    )


def carried_out(text: str, context: StageContext) -> StageResult:
    """Run the stage `load` of a file; nothing is left behind."""
    project = parse_project(text)
    made = make_served(stages_of(project)["load"], 600.0, project.services, ServiceSettings())
    result = run_safely(made, context)
    assert leftovers([context.ledger.path]) == []
    return result


def test_each_threshold_is_a_check_with_what_was_measured(url: str, context: StageContext) -> None:
    """The run keeps the numbers, histograms and measurements, and the report shows them."""
    result = carried_out(STAGE.replace("{url}", url), context)

    assert result.outcome is Outcome.PASSED, result
    assert [each.name for each in result.checks] == ["p95 < 5 s", "errors of good < 5 %", "rate > 5"]
    assert all(each.properties["measured"] for each in result.checks)
    ((folder, summary),) = loads_of(context.run_dir)
    assert (folder, summary.stage, summary.rows[0].phase) == ("evidence/load", "load", "hold")
    assert (context.run_dir / folder / "latencies.hlog").read_text().count("Tag=hold/good,") == 1
    measured = {each.metric: each.goal for each in read_measurements(context.run_dir / "benchmark.json")}
    assert (measured["errors of good"], measured["rate"], measured["p95"]) == (5.0, 5.0, None)


def test_a_service_that_breaks_fails_it(url: str, context: StageContext) -> None:
    """Its words are in the reason."""
    result = carried_out(STAGE.replace("{url}", url).replace("/good", "/bad"), context)

    assert result.outcome is Outcome.FAILED
    assert [each.kind for each in result.checks] == ["failed"] * 3
    assert "x 500 ok" in result.reason


def test_an_interruption_keeps_what_was_measured(url: str, context: StageContext) -> None:
    """And decides nothing."""
    stop = threading.Timer(3.0, context.stop.set)
    stop.start()
    began = time.monotonic()

    result = carried_out(STAGE.replace("{url}", url).replace('for = "1s"', 'for = "300s"'), context)

    stop.cancel()
    assert time.monotonic() - began < 60
    assert result.outcome is Outcome.UNKNOWN
    assert {each.kind for each in result.checks} <= {"inconclusive", "not-run"}
    assert "the run was interrupted" in result.reason


def test_a_setup_that_fails_keeps_it_from_running(url: str, context: StageContext) -> None:
    """What is asked for was not made ready, so no answer says anything."""
    setup = f'setup = ["{sys.executable}", "-c", "print(\'no database\'); raise SystemExit(3)"]\n'
    result = carried_out(STAGE.replace("{url}", url).replace("thresholds", f"{setup}thresholds"), context)

    assert result.outcome is Outcome.UNKNOWN
    assert (
        "did not make it ready: it ended with exit status 3: no database (logs/load-setup.log)"
        in result.reason
    )


def test_with_a_service_and_a_matrix(context: StageContext) -> None:
    """The service is the stage's own, and texts name it and values of the matrix."""
    program = textwrap.dedent(
        """
        import sys
        from http.server import HTTPServer, SimpleHTTPRequestHandler
        HTTPServer(("127.0.0.1", int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()
        """
    )
    (context.repository / "serve.py").write_text(program)
    (context.repository / "names.txt").write_text("serve\n\n")
    service = f"""
    [services.files]
    kind = "process"
    command = ["{sys.executable}", "serve.py", "{{port}}"]
    ready = "{{url}}/"
    """
    text = STAGE.replace("{url}", "{services.files.url}").replace("/good", "/{name}.{ending}")
    text = text.replace("thresholds", 'needs = ["files"]\nmatrix = {ending = ["py"]}\nthresholds')
    project = parse_project(f'{service}{text}[stages.load.values]\nname = {{file = "names.txt"}}\n')
    made = make_served(stages_of(project)["load-py"], 600.0, project.services, ServiceSettings())

    result = run_safely(made, context)

    assert result.outcome is Outcome.PASSED, result


def test_what_cannot_be_offered_is_not_run(url: str, context: StageContext) -> None:
    """Phases of another profile alone, a time limit of the owner's, a box, a target that is no address."""
    full = STAGE.replace("{url}", url).replace("thresholds", 'when = {profiles = ["full"]}\nthresholds')
    full += 'profiles = ["full"]\n'
    project = parse_project(STAGE.replace("{url}", url))
    short = make_served(stages_of(project)["load"], 0.5, {}, ServiceSettings())

    assert "none of its phases is for the profile 'quick'" in carried_out(full, context).reason
    assert (
        "in a box there is no network"
        in carried_out(STAGE.replace("{url}", url), replace(context, box=Box())).reason
    )
    assert "its phases take 1 s, and it may take 0 s" in run_safely(short, context).reason
    nowhere = STAGE.replace("{url}", "{target}").replace(
        "thresholds", 'matrix = {target = ["x"]}\nthresholds'
    )
    stage = stages_of(parse_project(nowhere))["load-x"]
    assert "its target is 'x'" in run_safely(make_served(stage, 9, {}, ServiceSettings()), context).reason


@pytest.mark.parametrize(
    ("wrote", "status", "outcome", "said"),
    [
        ("sample", 0, Outcome.PASSED, ""),
        ("sample", 99, Outcome.FAILED, "thresholds of the script"),
        ("sample", 107, Outcome.UNKNOWN, "k6 ended with exit status 107: cannot compile"),
        ("nothing", 0, Outcome.UNKNOWN, "k6 wrote no results"),
        ("words", 0, Outcome.UNKNOWN, "it has no sample"),
    ],
)
def test_a_script_of_k6(context: StageContext, wrote: str, status: int, outcome: Outcome, said: str) -> None:
    """A program that writes what k6 writes: its samples are judged, and its exit status has to fit them."""
    recorded = Path(__file__).parents[3] / "unit/ci/stages/load/recorded/k6-1.1.0.jsonl"
    program = f"""\
    #!{sys.executable}
    import sys
    out = sys.argv[sys.argv.index("--out") + 1].removeprefix("json=")
    lines = [each for each in open({str(recorded)!r}) if '"POST"' in each]
    text = {{"sample": "".join(lines * 10), "words": "<xml/>"}}.get({wrote!r})
    if text:
        open(out, "w").write(text)
    print("cannot compile")
    sys.exit({status})
    """
    k6 = context.repository / "k6"
    k6.write_text(textwrap.dedent(program))
    k6.chmod(0o755)
    (context.repository / "a.js").touch()
    text = (
        '[stages.load]\nkind = "load"\nscript = "a.js"\nprogram = "k6"\nthresholds = ["p95 of write < 1 s"]\n'
    )

    result = carried_out(text, context)

    assert result.outcome is outcome, result
    assert said in result.reason
    assert result.remarks[0].startswith("latencies are those of k6")


def test_a_tool_that_is_missing_says_how_to_have_it(context: StageContext) -> None:
    """It is not run, never passed."""
    text = '[stages.load]\nkind = "load"\nscript = "a.py"\nthresholds = ["errors < 1 %"]\n'

    absent = carried_out(text, replace(context, environ={"PATH": "/nowhere"}))
    named = carried_out(f'{text}program = ".venv/bin/locust"\n', context)

    assert "locust is not on PATH: install it with `prepare`" in absent.reason
    assert "there is no .venv/bin/locust" in named.reason
