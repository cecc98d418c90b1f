"""A stage whose tests several processes run: its result is that of one process, whatever becomes of them."""

import os
import threading
from collections import Counter
from dataclasses import replace

import pytest

from kvsync.ci.stages.pytest_stage import PytestStage
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import read_lines
from kvsync.testing.results.outcome import Outcome, StageResult
from tests.projects import make_project

MEETS = """
from pathlib import Path
from kvsync.testing.processes.wait import wait_for

def test_meets():
    Path("{mine}").touch()
    wait_for(Path("{other}").exists, what="the other process", timeout_s=20)
"""

SAYS_WHERE = """
import os
def test_says_where(record_property): record_property("process", os.getpid())
"""

HANGS = """
import time
def test_before(): pass
def test_hangs(): time.sleep(60)
def test_after(): pass
"""

DIES = """
import os, signal
from pathlib import Path
def test_before(): pass
def test_dies():
    with Path("deaths").open("a") as file:
        file.write("x")
    {death}
def test_after(): pass
"""

SKIPS_ITSELF = "import pytest\npytest.skip('not here', allow_module_level=True)"

KINDS = """
import pytest
from kvsync.testing.results.verdicts import NotRun, Void
def test_void(record_property):
    record_property("pods", 3)
    raise Void("no effect")
def test_not_run(): raise NotRun("no docker")
@pytest.mark.timeout(0.1)
def test_timeout():
    while True: pass
"""


@pytest.fixture
def context(context: StageContext) -> StageContext:
    """A repository that says that the tests of its stage `some` are independent, and a run beside it."""
    make_project(context.repository, "kvsync_parallel = some")
    return context


def run(context: StageContext, **files: str) -> StageResult:
    """Run a stage over test files of these names and contents."""
    for name, text in files.items():
        (context.repository / "tests" / "some" / f"test_{name}.py").write_text(text)
    return run_safely(PytestStage("some", "tests/some", timeout_s=50), context)


def kinds(result: StageResult) -> dict[str, str]:
    """Return how each test of a result ended, by its file and its own name."""
    return {check.name.removeprefix("tests/some/test_"): check.kind for check in result.checks}


def test_files_run_at_the_same_time(context: StageContext) -> None:
    """Two tests that wait for each other both pass, where one process would run one after the other."""
    result = run(context, a=MEETS.format(mine="a", other="b"), b=MEETS.format(mine="b", other="a"))

    assert kinds(result) == {"a.py::test_meets": "passed", "b.py::test_meets": "passed"}
    assert (result.outcome, result.doubt) == (Outcome.PASSED, "")


def test_every_line_is_written_once_and_in_order(context: StageContext) -> None:
    """What all processes find is in the journal once, and each test starts before it ends."""
    result = run(context, a="def test_a(): pass", b="def test_b(): pass", kinds=KINDS, skips=SKIPS_ITSELF)

    lines = [*read_lines(context.run_dir / "history" / "some-tests.jsonl")]
    assert Counter(line["event"] for line in lines) == {"collected": 1, "started": 5, "finished": 6}
    for test in (check.name for check in result.checks if "::" in check.name):
        assert [line["event"] for line in lines if line.get("nodeid") == test] == ["started", "finished"]
    assert kinds(result) == {
        "a.py::test_a": "passed",
        "b.py::test_b": "passed",
        "kinds.py::test_void": "void",
        "kinds.py::test_not_run": "not-run",
        "kinds.py::test_timeout": "timeout",
        "skips.py": "skipped",
    }
    void = next(check for check in result.checks if check.kind == "void")
    assert (void.detail, void.properties) == ("no effect", {"pods": "3"})


@pytest.mark.parametrize(
    ("death", "kind", "said"),
    [
        ("os._exit(3)", "error", "exit code 3 "),
        ("os.kill(os.getpid(), signal.SIGKILL)", "inconclusive", "exit code -9 "),
    ],
    ids=["by itself", "killed"],
)
def test_a_test_that_takes_its_process_along_stops_no_other(
    context: StageContext, death: str, kind: str, said: str
) -> None:
    """It ran once and says how its process ended; being killed from outside is not a failure of the test."""
    result = run(context, a=DIES.format(death=death), b="def test_b(): pass")

    assert kinds(result) == {
        "a.py::test_before": "passed",
        "a.py::test_dies": kind,
        "a.py::test_after": "passed",
        "b.py::test_b": "passed",
    }
    (died,) = (check for check in result.checks if check.name.endswith("test_dies"))
    assert died.detail == f"its process ended with {said}while this test ran"
    assert (context.repository / "deaths").read_text() == "x"
    assert result.outcome is (Outcome.FAILED if kind == "error" else Outcome.UNKNOWN)


def test_an_interruption_keeps_what_was_finished(context: StageContext) -> None:
    """Whatever was running in any of the processes is not run, and so is what waited."""
    lines = context.run_dir / "history" / "some-tests.jsonl"

    def stop_when_both_hang() -> None:
        wait_for(
            lambda: sum(str(line.get("nodeid")).endswith("hangs") for line in read_lines(lines)) == 2,
            what="both processes hang",
            timeout_s=30,
        )
        context.stop.set()

    stopper = threading.Thread(target=stop_when_both_hang)
    stopper.start()
    result = run(context, a=HANGS, b=HANGS)
    stopper.join(timeout=30)

    assert kinds(result) == {
        f"{file}.py::test_{name}": kind
        for file in "ab"
        for name, kind in (("before", "passed"), ("hangs", "not-run"), ("after", "not-run"))
    }
    assert result.reason.endswith("the run was interrupted")


@pytest.mark.parametrize("kept", [False, True], ids=["says nothing", "keeps its cluster"])
def test_one_process_is_the_rule(context: StageContext, kept: bool) -> None:
    """Where the project does not say that tests are independent, or the first failure ends them."""
    if not kept:
        make_project(context.repository)

    result = run(replace(context, keep=kept), a=SAYS_WHERE, b=SAYS_WHERE)

    assert len({check.properties["process"] for check in result.checks}) == 1
    assert str(os.getpid()) not in {check.properties["process"] for check in result.checks}
