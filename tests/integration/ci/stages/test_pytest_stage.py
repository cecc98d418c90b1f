"""The pytest stage and its plugin: every way in which a test run can end becomes a true verdict."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kvsync.ci.stages.pytest_stage import PytestStage
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.pytest_plugin import LINE_NAMES
from kvsync.testing.results.history import read_lines
from kvsync.testing.results.outcome import Outcome, StageResult

RunTests = Callable[..., StageResult]

HANGS = """
import time
def test_a(): pass
def test_hangs(): time.sleep(60)
def test_b(): pass
"""

EVERY_KIND = """
import pytest
from kvsync.testing.results.verdicts import Inconclusive, NotRun, Void

@pytest.fixture
def broken():
    raise RuntimeError("no cluster")

@pytest.fixture
def untidy():
    yield
    raise RuntimeError("left behind")

def test_passed(): pass
def test_failed():
    print("what it printed")
    assert 1 == 2, "numbers differ"
def test_error(broken): pass
def test_teardown(untidy): pass
def test_skipped(): pytest.skip("no time")
@pytest.mark.xfail(reason="known")
def test_xfailed(): assert False
def test_void(): raise Void("the fault had no effect")
def test_not_run(): raise NotRun("no docker")
def test_inconclusive(): raise Inconclusive("too few samples")
def test_group(): raise ExceptionGroup("tasks", [Void("in a task")])
def test_mixed_group(): raise ExceptionGroup("tasks", [Void("in a task"), ValueError("real")])
@pytest.mark.timeout(0.1)
def test_timeout():
    while True: pass
"""


@pytest.fixture
def run_tests(context: StageContext) -> RunTests:
    """Run a stage over one test file with this content."""

    def run(code: str, timeout_s: float = 30) -> StageResult:
        (context.repository / "tests" / "some" / "test_it.py").write_text(code)
        return run_safely(PytestStage("some", "tests/some", timeout_s), context)

    return run


def kinds(result: StageResult) -> dict[str, str]:
    """Return how each test of a result ended, by its short name."""
    return {check.name.rpartition("::")[2]: check.kind for check in result.checks}


def test_every_kind_of_ending(context: StageContext, run_tests: RunTests) -> None:
    """Each way a test can end is its own kind, with reason and output, in the result and on disk."""
    result = run_tests(EVERY_KIND)

    assert kinds(result) == {
        "test_passed": "passed",
        "test_failed": "failed",
        "test_error": "error",
        "test_teardown": "error",
        "test_skipped": "skipped",
        "test_xfailed": "xfailed",
        "test_void": "void",
        "test_not_run": "not-run",
        "test_inconclusive": "inconclusive",
        "test_group": "void",
        "test_mixed_group": "failed",
        "test_timeout": "timeout",
    }
    checks = {check.name.rpartition("::")[2]: check for check in result.checks}
    assert checks["test_failed"].headline == "AssertionError: numbers differ"
    assert "what it printed" in checks["test_failed"].log_tail
    assert checks["test_void"].detail == "the fault had no effect"
    assert checks["test_skipped"].detail == "no time"
    assert result.outcome is Outcome.FAILED
    assert result.summary() == "FAILED: some: 5 of 12 failed: test_failed: AssertionError: numbers differ"
    written = json.loads((context.run_dir / "results" / "some.json").read_text())
    assert StageResult.from_json(written) == result
    assert "test_failed FAILED" in (context.run_dir / str(result.log)).read_text()


@pytest.mark.parametrize(
    ("code", "outcome", "reason"),
    [
        ("def helper(): pass", Outcome.UNKNOWN, "no test ran"),
        ("import pytest\npytest.skip('why', allow_module_level=True)", Outcome.UNKNOWN, "all 1 skipped: why"),
        (
            "import nowhere",
            Outcome.FAILED,
            "1 of 1 failed: tests/some/test_it.py: ModuleNotFoundError: No module named 'nowhere'",
        ),
        (
            "import os\ndef test_a(): pass\ndef test_b(): os._exit(0)",
            Outcome.FAILED,
            (
                "1 of 2 failed: test_b: pytest ended with exit status 0 while this test ran; "
                "2 recorded tests do not explain pytest's exit status 0: tests/some/test_it.py::test_b"
            ),
        ),
    ],
    ids=["no test", "skipped file", "broken file", "exits inside"],
)
def test_verdict(run_tests: RunTests, code: str, outcome: Outcome, reason: str) -> None:
    """Only tests that ran and passed make a stage pass; everything else says why not."""
    result = run_tests(code)

    assert (result.outcome, result.reason) == (outcome, reason)


def test_no_line_names_very_many_tests(context: StageContext, run_tests: RunTests) -> None:
    """However many there are: readers hold a line at a time, and a box refuses long ones."""
    count = LINE_NAMES + 1
    result = run_tests(
        f"import pytest\n@pytest.mark.parametrize('each', range({count}))\ndef test_a(each): pass\n"
    )
    lines = list(read_lines(context.run_dir / "history" / "some-tests.jsonl"))

    assert (result.outcome, len(result.checks)) == (Outcome.PASSED, count)
    assert [len(line["nodeids"]) for line in lines if "nodeids" in line] == [LINE_NAMES, 1]  # type: ignore[arg-type]  # lists


def test_no_folder(context: StageContext) -> None:
    """A stage without its folder is unknown and says what pytest said."""
    result = run_safely(PytestStage("other", "tests/other", 30), context)

    assert result.outcome is Outcome.UNKNOWN
    assert "file or directory not found: tests/other" in result.reason


def test_interruption(context: StageContext, run_tests: RunTests) -> None:
    """A run that is stopped keeps what it finished; nothing of the rest is passed or failed."""
    lines = context.run_dir / "history" / "some-tests.jsonl"

    def stop_when_it_hangs() -> None:
        wait_for(
            lambda: any(str(line.get("nodeid")).endswith("test_hangs") for line in read_lines(lines)),
            what="the second test starts",
            timeout_s=20,
        )
        context.stop.set()

    stopper = threading.Thread(target=stop_when_it_hangs)
    stopper.start()
    result = run_tests(HANGS)
    stopper.join(timeout=20)

    assert kinds(result) == {"test_a": "passed", "test_hangs": "not-run", "test_b": "not-run"}
    assert result.outcome is Outcome.UNKNOWN
    assert result.reason.startswith("2 of 3 undecided")
    assert result.reason.endswith("the run was interrupted")


def test_interrupted_before(context: StageContext) -> None:
    """A stage that the interruption kept from starting is not run."""
    context.stop.set()

    result = run_safely(PytestStage("some", "tests/some", 30), context)

    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "not run: interrupted")


def test_without_its_cluster_a_stage_says_so(context: StageContext) -> None:
    """Why it could not be made, the result of the cluster says."""
    stage = PytestStage("some", folder="tests/some", timeout_s=60, clustered=True)

    result = run_safely(stage, replace(context, cluster="kind"))

    assert (result.outcome, result.reason) == (
        Outcome.UNKNOWN,
        "not run: the kind cluster could not be made",
    )


def test_a_broken_stage_is_unknown(context: StageContext) -> None:
    """An exception in the harness is not a verdict on the product; the traceback is kept."""

    class Broken:
        name = "broken"

        def run(self, context: StageContext) -> StageResult:
            raise OSError("disk full")

    result = run_safely(Broken(), context)

    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "the stage itself broke: OSError: disk full")
    assert 'raise OSError("disk full")' in result.checks[0].detail


def test_fixtures_of_the_plugin(context: StageContext, run_tests: RunTests) -> None:
    """Tests get the run's parameters; what they record is in the run's folder, of their output the end."""
    result = run_tests(
        "from kvsync.testing.results.measurement import Measurement\n"
        "def test_a(seed, profile, run_dir, trace_path, history, measurements):\n"
        "    assert (seed, profile, run_dir.name, trace_path) == (7, 'quick', 'run-1', None)\n"
        "    history.append(f='request', type='ok', latency_s=0.5)\n"
        "    measurements.add(Measurement(name='n', metric='p50', value=1.0, unit='ms', samples=3))\n"
        "    print('x' * 200_000 + 'end')\n"
    )

    assert result.outcome is Outcome.PASSED, result.checks
    (record,) = read_lines(context.run_dir / "history" / "some.jsonl")
    assert (record["f"], record["test"]) == ("request", "tests/some/test_it.py::test_a")
    assert '"p50"' in (context.run_dir / "benchmark.json").read_text()
    assert len(result.checks[0].log_tail) == 65_536
    assert result.checks[0].log_tail.endswith("end\n")


def test_the_seed_of_a_run_is_that_of_hypothesis(context: StageContext, run_tests: RunTests) -> None:
    """Without it a failure could not be repeated; a project that leaves its plugin out is tested as well."""
    code = "import hypothesis.core as core\ndef test_seed(): assert core.global_force_seed == {}\n"
    assert run_tests(code.format(None)).outcome is Outcome.PASSED

    (context.repository / "pytest.ini").write_text("[pytest]\n")

    assert run_tests(code.format(7)).outcome is Outcome.PASSED


def test_plugin_writes_nothing_outside_a_run(tmp_path: Path) -> None:
    """Plain pytest leaves no file, fails a Void, and leaves out what this profile does not run."""
    (tmp_path / "test_it.py").write_text(
        "import pytest\nfrom kvsync.testing.results.verdicts import Void\n"
        "def test_a(run_dir, measurements, history): history.append(f='x')\n"
        "def test_void(): raise Void('no effect')\n"
        "@pytest.mark.full\ndef test_full(): raise AssertionError\n"
        "@pytest.mark.trace\ndef test_trace(): raise AssertionError\n"
    )
    argv = ["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "kvsync.testing.pytest_plugin"]

    done = subprocess.run(
        [sys.executable, "-B", *argv, "--basetemp", str(tmp_path / "tmp")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert "1 failed, 1 passed, 2 skipped" in done.stdout
    assert "void: no effect" in done.stdout
    assert "runs only with --profile=full" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} <= {"test_it.py", "tmp"}


FLAKY_AT_THE_SECOND_TIME = """
from pathlib import Path

def mark(name):
    with Path(name).open("a") as file:
        file.write("x")

def test_known(): mark("known")
def test_new(): mark("new")
def test_flaky():
    mark("flaky")
    assert len(Path("flaky").read_text()) != 2
"""


def test_new_tests_run_several_times(context: StageContext) -> None:
    """A test that the reference branch does not have shows at once whether it is flaky."""
    (context.repository / "tests" / "some" / "test_it.py").write_text(FLAKY_AT_THE_SECOND_TIME)
    known = frozenset(["tests/some/test_it.py::test_known"])

    result = PytestStage("some", "tests/some", 600, burn_in=3).run(replace(context, known=known))

    assert kinds(result) == {"test_known": "passed", "test_new": "passed", "test_flaky": "flaky"}
    assert [(context.repository / name).read_text() for name in ("known", "new", "flaky")] == [
        "x",
        "xxx",
        "xxx",
    ]
    assert (result.outcome, result.reason, result.log) == (Outcome.PASSED, "", "logs/some.log")
