"""Trying again: what chance may have failed gets a second attempt, and both are in the result."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kvsync.ci.report.report import Report
from kvsync.ci.run.recheck import recheck
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.pytest_stage import PytestStage
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.results.history import read_lines
from kvsync.testing.results.outcome import Outcome, StageResult

RunTests = Callable[..., StageResult]

RETRYING = PytestStage("some", "tests/some", 60, retries=1)
ONCE = PytestStage("some", "tests/some", 60)

FIRST = """
import pytest
from pathlib import Path
from kvsync.testing.results.verdicts import Inconclusive, Violated

def first(name):
    mark = Path(__file__).with_name(name)
    if mark.exists():
        return False
    mark.touch()
    return True
"""
"""With it, a test can tell its first attempt from others."""


@pytest.fixture
def run_tests(context: StageContext) -> RunTests:
    """Run a stage over one test file with this content; changes to the context make another attempt at it."""

    def run(code: str, stage: PytestStage = RETRYING, **changes: object) -> StageResult:
        (context.repository / "tests" / "some" / "test_it.py").write_text(FIRST + code)
        return run_safely(stage, replace(context, **changes))  # type: ignore[arg-type]  # by name

    return run


def shown(result: StageResult) -> dict[str, tuple[str, list[str]]]:
    """Return how each test ended and its earlier attempts, by its short name."""
    return {
        check.name.rpartition("::")[2]: (check.kind, [each.kind for each in check.attempts])
        for check in result.checks
    }


def test_a_second_attempt(context: StageContext, run_tests: RunTests) -> None:
    """A pass after a failure is flaky, after trouble of the machine a pass; what is sure is not repeated."""
    result = run_tests(
        "@pytest.fixture\n"
        "def port():\n"
        "    if first('port'): raise OSError('[Errno 98] error while attempting to bind: "
        "address already in use')\n"
        "def test_flaky(history):\n"
        "    history.append(f='request')\n"
        "    assert not first('flaky'), 'the first time'\n"
        "def test_port(port): pass\n"
        "def test_broken(): assert False\n"
        "def test_undecided(): raise Inconclusive('too few') if first('undecided') else AssertionError\n"
        "def test_violated(): raise Violated('lost') if first('violated') else RuntimeError\n"
        "@pytest.mark.invariant\n"
        "def test_invariant(): assert not first('invariant')\n"
        "def test_good(): assert first('good')\n"
    )

    assert shown(result) == {
        "test_flaky": ("flaky", ["failed"]),
        "test_port": ("passed", ["infra-error"]),
        "test_broken": ("failed", ["failed"]),
        "test_undecided": ("inconclusive", []),
        "test_violated": ("failed", []),
        "test_invariant": ("failed", []),
        "test_good": ("passed", []),
    }
    assert "the first time" in result.checks[0].attempts[0].detail
    assert result.reason.startswith("3 of 7 failed: test_broken")
    logs = context.run_dir / "logs"
    assert ("7 items" in (logs / "some.log").read_text(), result.log) == (True, "logs/some-2.log")
    assert "3 selected" in (logs / "some-2.log").read_text()
    requests = read_lines(context.run_dir / "history" / "some.jsonl")
    name = "tests/some/test_it.py::test_flaky"
    assert [request["test"] for request in requests] == [name, f"{name} (attempt 2)"]


def test_an_outage_is_not_tried_again(context: StageContext, run_tests: RunTests) -> None:
    """When six tests fail, none is repeated, and each says why."""
    result = run_tests(
        "@pytest.mark.parametrize('n', range(6))\ndef test_x(n): assert first(str(n)) is None\n"
    )

    assert {check.properties["retry"] for check in result.checks} == {
        "not tried again: 6 failed, 5 more may be in this run"
    }
    assert not (context.run_dir / "logs" / "some-2.log").exists()


def test_what_earlier_stages_spent_counts(context: StageContext, run_tests: RunTests) -> None:
    """The allowance is that of the run: a stage that took four leaves one."""
    four = "@pytest.mark.parametrize('n', range(4))\ndef test_x(n): assert not first('{0}' + str(n))\n"
    earlier = run_tests(four.format("a"), replace(RETRYING, name="before"))

    result = run_tests(four.format("b"))

    assert earlier.outcome is Outcome.PASSED
    assert result.checks[0].properties["retry"] == "not tried again: 4 failed, 1 more may be in this run"


def test_other_stages_have_one_attempt(run_tests: RunTests) -> None:
    """Without retries a failure is final."""
    result = run_tests("def test_x(): assert not first('x')\n", ONCE)

    assert shown(result) == {"test_x": ("failed", [])}


RERUN = "def test_a(): assert not first('a')\ndef test_b(): assert first('b'), 'repeated'\n"


def test_repeating_what_failed(context: StageContext, run_tests: RunTests) -> None:
    """Only what did not pass runs again; the rest is as it was, and the verdict is that of both."""
    run_tests(RERUN, ONCE)

    result = run_tests(RERUN, ONCE, attempt=2, failed_only=True)

    assert shown(result) == {"test_a": ("flaky", ["failed"]), "test_b": ("passed", [])}
    assert result.outcome is Outcome.PASSED
    assert _judged_again(context, result) == ()


def test_repeating_with_other_code(context: StageContext, run_tests: RunTests) -> None:
    """A test that other code passes is not flaky; its check names the code, the rest is as it was."""
    run_tests(RERUN, ONCE)

    result = run_tests(RERUN, ONCE, attempt=2, failed_only=True, other_code="0123456789")

    assert shown(result) == {"test_a": ("passed", ["failed"]), "test_b": ("passed", [])}
    assert [dict(check.properties) for check in result.checks] == [{"code": "0123456789"}, {}]
    assert _judged_again(context, result) == ()


def test_repeating_the_whole_stage(context: StageContext, run_tests: RunTests) -> None:
    """All tests run again; one that is gone is gone, and one that fails now has failed."""
    run_tests(RERUN + "def test_gone(): assert False\n", ONCE)

    result = run_tests(RERUN, ONCE, attempt=2)

    assert shown(result) == {"test_a": ("flaky", ["failed"]), "test_b": ("failed", ["passed"])}
    assert _judged_again(context, result) == ()


def test_repeating_a_test_that_is_gone(run_tests: RunTests) -> None:
    """It stays failed: nothing shows that it would pass."""
    run_tests(RERUN, ONCE)

    result = run_tests("def test_b(): pass\n", ONCE, attempt=2, failed_only=True)

    assert shown(result) == {"test_a": ("failed", []), "test_b": ("passed", [])}


def test_an_interrupted_repetition(context: StageContext, run_tests: RunTests) -> None:
    """What was found before is not lost, and what could not be repeated is doubtful."""
    run_tests(RERUN, ONCE)
    context.stop.set()

    result = run_tests(RERUN, ONCE, attempt=2)

    assert shown(result) == {"test_a": ("failed", []), "test_b": ("passed", [])}
    assert result.reason.endswith("not run: interrupted")


def test_lines_of_a_killed_attempt(context: StageContext, run_tests: RunTests) -> None:
    """A line torn by a kill costs nothing of the next attempt."""
    lines = context.run_dir / "history" / "some-tests.jsonl"
    lines.parent.mkdir(parents=True)
    lines.write_text('{"event": "collected", "count": 1, "nodeids": ["a"]}\n{"event": "star')

    result = run_tests("def test_x(): pass\n", ONCE)

    assert shown(result) == {"test_x": ("passed", [])}
    assert result.log == "logs/some-2.log"


def _judged_again(context: StageContext, result: StageResult) -> object:
    """Return what a recheck finds other than the report of this result says."""
    report = Report(
        run="run-1",
        started_at=result.started_at,
        duration_s=1.0,
        command="",
        stages=(result, StageResult.unknown("later", "not run")),
        parameters={},
        versions={},
        machine={},
    )
    return recheck(RunFolder(context.run_dir), report).changes
