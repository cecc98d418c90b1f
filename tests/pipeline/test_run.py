"""Whole runs of the pipeline, started as a user starts them."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from junitparser import JUnitXml

from kvsync.testing.processes.living import find_strays
from kvsync.testing.processes.wait import wait_for
from tests.pipeline.conftest import Pipeline, flow_of, guardians

Repository = Callable[..., str]

PASSING = "def test_good():\n    print('all is well')\n"
FAILING = "def test_bad():\n    assert 1 + 1 == 3, 'arithmetic is broken'\n"
HANGING = """
    import time

    def test_first():
        pass

    def test_endless():
        time.sleep(3600)
"""


pytestmark = pytest.mark.timeout(180)


def test_a_run_that_passes_leaves_its_whole_report(pipeline: Pipeline, repository: Repository) -> None:
    """Exit status 0, the verdict in the last line, and every promised file in the run's folder."""
    status, lines = pipeline(
        "run", "unit", "property", "--repository", repository(unit=PASSING, property=PASSING)
    )

    assert (status, lines[-1]) == (0, "PASSED: 3 stages, 3 checks")
    (run,) = pipeline.runs()
    report = json.loads((run / "report.json").read_text())
    assert [stage["name"] for stage in report["stages"]] == ["unit", "property", "residue"]
    page = (run / "report.html").read_text()
    assert "PASSED" in page
    assert "Nothing to compare with yet." in page or "2 tests are new" in page
    assert [case.name for suite in JUnitXml.fromfile(str(run / "junit/unit.xml")) for case in suite] == [
        "test_good"
    ]
    assert "1 passed" in (run / "logs/unit.log").read_text()


def test_a_failing_stage_fails_the_run_and_stops_no_other(
    pipeline: Pipeline, repository: Repository, server: str
) -> None:
    """Exit status 1; the last line names stage, test and assertion; later stages ran; Prefect shows it."""
    status, lines = pipeline(
        "run", "unit", "property", "--repository", repository(unit=FAILING, property=PASSING)
    )

    verdict = "FAILED: unit: 1 of 1 failed: test_bad: AssertionError: arithmetic is broken"
    assert status == 1
    assert lines[-1].startswith(verdict)
    (run,) = pipeline.runs()
    stages = json.loads((run / "report.json").read_text())["stages"]
    assert [stage["outcome"] for stage in stages] == ["failed", "passed", "passed"]
    assert _seen_in_prefect(server, run.name) == (
        "Failed",
        {"verdict", "stages", "changes", "failures", "report"},
    )
    listed = json.loads("\n".join(pipeline("list", "--json")[1]))
    assert [(each["run"], each["verdict"]) for each in listed] == [(run.name, "failed")]
    status, lines = pipeline("show", "last")
    assert status == 0
    assert lines[-1].startswith(verdict)
    assert json.loads("\n".join(pipeline("show", run.name, "--json")[1]))["run"] == run.name


def _seen_in_prefect(server: str, run: str) -> tuple[str, set[str]]:
    """Return the final state and the artifacts of the flow run with this name.

    Without the progress of stages: only what takes long has it, which on a busy machine is anything.
    """
    named = {"flow_runs": {"name": {"any_": [f"manual {run}"]}}}
    (flow_run,) = httpx.post(f"{server}/flow_runs/filter", json=named).json()
    of_run = {"artifacts": {"flow_run_id": {"any_": [flow_run["id"]]}}}
    artifacts = httpx.post(f"{server}/artifacts/filter", json=of_run).json()
    keys = {artifact["key"] for artifact in artifacts}
    return flow_run["state_name"], {key for key in keys if not key.startswith("progress-")}


def test_without_evidence_a_run_is_unknown(pipeline: Pipeline, repository: Repository) -> None:
    """No test, only skipped ones, a fault without effect: none is green, and the exit status is 2."""
    sources = repository(
        unit="",
        integration="import pytest\ndef test_x():\n    pytest.skip('no luck')\n",
        property="from kvsync.testing.results.verdicts import Void\n"
        "def test_x():\n    raise Void('no effect')\n",
    )
    status, lines = pipeline("run", "unit", "integration", "property", "--repository", sources)

    assert status == 2
    assert lines[-1] == (
        "UNKNOWN: unit: no test ran; integration: all 1 skipped: no luck; "
        "property: 1 of 1 undecided: test_x: no effect"
    )


def test_ctrl_c_keeps_the_report_and_leaves_no_process(pipeline: Pipeline, repository: Repository) -> None:
    """An interrupted run ends by itself, says what was not judged, and nothing of it stays."""
    process = pipeline.start(
        "run", "unit", "property", "--repository", repository(unit=HANGING, property=PASSING)
    )
    run = _wait_until_hanging(pipeline)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=30)

    assert process.returncode == 2
    last = printed.splitlines()[-1]
    assert last.startswith("UNKNOWN: unit: ")
    assert "the run was interrupted" in last
    assert "property: not run: interrupted" in last
    kinds = {
        check["name"]: check["kind"]
        for check in json.loads((run / "report.json").read_text())["stages"][0]["checks"]
    }
    assert kinds == {
        "tests/unit/test_unit.py::test_first": "passed",
        "tests/unit/test_unit.py::test_endless": "not-run",
    }
    assert (run / "report.html").exists()
    assert find_strays(run.name) == []


def test_a_killed_run_is_found_and_cleaned(pipeline: Pipeline, repository: Repository) -> None:
    """After SIGKILL of all that could clean up, `clean --check` names what is left and `clean` ends it."""
    process = pipeline.start("run", "unit", "--repository", repository(unit=HANGING))
    run = _wait_until_hanging(pipeline)
    assert pipeline("clean", "--check") == (
        0,
        [f"{run.name}: still running, left alone", "nothing is left behind"],
    )
    flow = flow_of(run)
    for each in [*guardians(run), flow, psutil.Process(process.pid)]:
        each.kill()
    process.communicate(timeout=10)

    status, lines = pipeline("clean", "--check")
    assert status == 1
    assert any("pytest tests/unit" in line for line in lines)
    assert pipeline("clean")[0] == 0
    assert pipeline("clean", "--check") == (0, ["nothing is left behind"])
    assert find_strays(run.name) == []


def test_a_pipeline_that_dies_still_gets_a_report(pipeline: Pipeline, repository: Repository) -> None:
    """When the flow's process is killed, the command that started it writes the report of what is known."""
    process = pipeline.start("run", "unit", "--repository", repository(unit=HANGING))
    run = _wait_until_hanging(pipeline)
    flow_of(run).kill()
    printed, _ = process.communicate(timeout=30)

    assert process.returncode == 2
    assert "the pipeline's process ended with -9" in printed.splitlines()[-1]
    report = json.loads((run / "report.json").read_text())
    assert report["verdict"] == "unknown"
    assert [check["kind"] for check in report["stages"][0]["checks"]] == ["passed", "inconclusive"]
    assert find_strays(run.name) == []


def test_without_a_server_a_run_brings_its_own(pipeline: Pipeline, repository: Repository) -> None:
    """Without PREFECT_API_URL a temporary server is used, and all it leaves lies in the report folder."""
    home = pipeline.reports.parent / "home"
    home.mkdir()
    alone = Pipeline(reports=pipeline.reports, env={**pipeline.env, "PREFECT_API_URL": "", "HOME": str(home)})
    status, lines = alone("run", "unit", "--repository", repository(unit=PASSING))

    assert (status, lines[-1]) == (0, "PASSED: 2 stages, 2 checks")
    assert (alone.reports / ".prefect" / "prefect.db").exists()
    assert [path.name for path in home.rglob("*")] == []
    assert find_strays(alone.runs()[0].name) == []


def _wait_until_hanging(pipeline: Pipeline) -> Path:
    def hanging() -> Path | None:
        for run in pipeline.runs():
            lines = run / "history" / "unit-tests.jsonl"
            if (
                lines.exists()
                and '"started", "nodeid": "tests/unit/test_unit.py::test_endless"' in lines.read_text()
            ):
                return run
        return None

    return wait_for(hanging, timeout_s=90, what="the endless test of the run has begun")
