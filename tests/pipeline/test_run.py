"""Whole runs of the pipeline, started as a user starts them."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from junitparser import JUnitXml

from kvsync.testing.processes.living import find_strays
from kvsync.testing.processes.wait import wait_for
from tests.forking import Forking
from tests.pipeline.conftest import Pipeline, flow_of, guardians, write_repository

Repository = Callable[..., str]

PASSING = "def test_good():\n    print('all is well')\n"
LONG = """
    import time
    import pytest

    @pytest.mark.parametrize("number", range(4))
    def test_slow(number):
        time.sleep(1.5)
        assert number != 2, "two is too many"
"""
VERDICT = "FAILED: unit: 1 of 4 failed: test_slow[2]: AssertionError: two is too many"
HANGING = """
    import time

    def test_first():
        pass

    def test_endless():
        time.sleep(3600)
"""


pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A run with a stage that takes long and fails, and what it printed."""

    pipeline: Pipeline
    status: int
    lines: list[str]
    prefect: httpx.Client

    @property
    def run(self) -> Path:
        """Its folder."""
        (run,) = self.pipeline.runs()
        return run

    @property
    def flow_run(self) -> dict[str, Any]:
        """What Prefect says of it."""
        (flow_run,) = self._found("flow_runs", name={"any_": [f"manual {self.run.name}"]})
        return flow_run

    def has(self, what: str) -> list[dict[str, Any]]:
        """Return the artifacts or logs that Prefect has of it."""
        return self._found(what, flow_run_id={"any_": [self.flow_run["id"]]})

    def _found(self, what: str, **criteria: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.prefect.post(f"/{what}/filter", json={what: criteria}).json()
        return found


@pytest.fixture(scope="module")
def failed(server: str, fork: Forking, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Failed]:
    """A run of two stages, of which the first fails."""
    folder = tmp_path_factory.mktemp("failed")
    env = {**os.environ, "PREFECT_API_URL": server}
    pipeline = Pipeline(reports=folder / "reports", env=env, fork=fork)
    sources = write_repository(folder, unit=LONG, property=PASSING)
    status, lines = pipeline("run", "unit", "property", "--repository", sources)
    with httpx.Client(base_url=server) as prefect:
        yield Failed(pipeline=pipeline, status=status, lines=lines, prefect=prefect)


def test_a_failing_stage_fails_the_run_and_stops_no_other(failed: Failed) -> None:
    """Exit status 1; the last line names stage, test and assertion; later stages ran; Prefect shows it."""
    assert failed.status == 1
    assert failed.lines[-1].startswith(VERDICT)
    stages = json.loads((failed.run / "report.json").read_text())["stages"]
    assert [stage["outcome"] for stage in stages] == ["failed", "passed", "passed"]
    assert failed.flow_run["state_name"] == "Failed"
    keys = {artifact["key"] for artifact in failed.has("artifacts")}
    # Of stages that do not take long there is no progress, and on a busy machine anything takes long.
    assert keys - {"progress-property"} == {
        *("verdict", "stages", "changes", "failures", "report", "progress-unit")
    }


def test_a_failed_run_is_listed_and_shown(failed: Failed) -> None:
    """By its id or as the last one, for people and for programs."""
    listed = json.loads("\n".join(failed.pipeline("list", "--json")[1]))
    assert [(each["run"], each["verdict"]) for each in listed] == [(failed.run.name, "failed")]
    status, lines = failed.pipeline("show", "last")
    assert status == 0
    assert lines[-1].startswith(VERDICT)
    shown = json.loads("\n".join(failed.pipeline("show", failed.run.name, "--json")[1]))
    assert shown["run"] == failed.run.name


def test_a_long_stage_shows_how_far_it_is(failed: Failed) -> None:
    """At its end everything is done; how its tests ended is in the log of its task run."""
    (progress,) = [each for each in failed.has("artifacts") if each["key"] == "progress-unit"]
    assert progress["type"] == "progress"
    assert progress["data"] == 100.0
    assert progress["description"].startswith("unit: 4 of 4: 1 failed, 3 passed")
    assert progress["task_run_id"]
    lines = [each["message"] for each in failed.has("logs")]
    told = [line for line in lines if "::test_slow" in line and not line.startswith(("FAILED", "UNKNOWN"))]
    assert told[:2] == [f"passed: tests/unit/test_unit.py::test_slow[{n}]" for n in range(2)]
    assert told[2].startswith("failed: tests/unit/test_unit.py::test_slow[2]: ")


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


def test_a_run_that_passes_leaves_its_whole_report(pipeline: Pipeline, repository: Repository) -> None:
    """Exit status 0, the verdict in the last line, and every promised file in the run's folder.

    Without PREFECT_API_URL a temporary server is used, and all it leaves lies in the report folder.
    """
    home = pipeline.reports.parent / "home"
    home.mkdir()
    alone = Pipeline(reports=pipeline.reports, env={**pipeline.env, "PREFECT_API_URL": "", "HOME": str(home)})
    status, lines = alone(
        "run", "unit", "property", "--repository", repository(unit=PASSING, property=PASSING)
    )

    assert (status, lines[-1]) == (0, "PASSED: 3 stages, 3 checks")
    (run,) = alone.runs()
    report = json.loads((run / "report.json").read_text())
    assert [stage["name"] for stage in report["stages"]] == ["unit", "property", "residue"]
    page = (run / "report.html").read_text()
    assert "PASSED" in page
    assert "Nothing to compare with yet." in page or "2 tests are new" in page
    assert [case.name for suite in JUnitXml.fromfile(str(run / "junit/unit.xml")) for case in suite] == [
        "test_good"
    ]
    assert "1 passed" in (run / "logs/unit.log").read_text()
    assert (alone.reports / ".prefect" / "prefect.db").exists()
    assert [path.name for path in home.rglob("*")] == []
    assert find_strays(run.name) == []


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
