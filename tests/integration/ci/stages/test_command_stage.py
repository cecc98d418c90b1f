"""Stages that run any program."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.command_stage import WEAK, CommandStage
from kvsync.ci.stages.pytest_stage import cut_short
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import read_lines
from kvsync.testing.results.measurement import read_measurements
from kvsync.testing.results.outcome import Outcome, StageResult

PASSED = '<testsuite name="s" tests="1"><testcase classname="m" name="good"/></testsuite>'
BOTH = (
    '<testsuite name="s" tests="2"><testcase classname="m" name="good"/>'
    '<testcase classname="m" name="bad"/></testsuite>'
)
FAILED = (
    '<testsuite name="s" tests="2"><testcase classname="m" name="good"/>'
    '<testcase classname="m" name="bad"><failure message="1 is not 2"/></testcase></testsuite>'
)

RunScript = Callable[..., StageResult]


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


@pytest.fixture
def run_script(context: StageContext) -> RunScript:
    """Run a stage that is a script of a shell."""

    def run(script: str, timeout_s: float = 30, **given: Any) -> StageResult:
        stage = CommandStage("check", argv=["sh", "-c", script], timeout_s=timeout_s, **given)
        return run_safely(stage, context)

    return run


def ended(result: StageResult) -> tuple[Outcome, str]:
    """Return how a stage ended, and why."""
    return result.outcome, result.reason


def test_an_exit_status_alone_is_one_check_and_weak_evidence(run_script: RunScript) -> None:
    """It says so where it passed; where it failed, the last line of the program says why."""
    good, bad = run_script("echo fine"), run_script("echo line 3 is too long; exit 4")

    assert (good.outcome, good.remarks, len(good.checks)) == (Outcome.PASSED, (WEAK,), 1)
    assert good.checks[0].properties == {"weak": "yes"}
    assert (bad.outcome, bad.checks[0].headline) == (Outcome.FAILED, "exit status 4: line 3 is too long")
    assert "line 3 is too long" in bad.checks[0].log_tail


def test_its_tests_are_read_from_its_files(run_script: RunScript, context: StageContext) -> None:
    """Also from several; the run keeps them."""
    result = run_script(
        f"mkdir -p b/c; echo '{PASSED}' > b/one.xml; echo '{FAILED}' > b/c/two.xml; exit 1",
        results=("b/**/*.xml",),
    )

    assert sorted(check.kind for check in result.checks) == ["failed", "passed", "passed"]
    assert len(list((context.run_dir / "evidence" / "check").iterdir())) == 2


@pytest.mark.parametrize(
    ("script", "results", "reason"),
    [
        ("exit 0", "r.xml", "no test ran; no result file r.xml was written; it ended with exit status 0"),
        (
            "echo no compiler; exit 3",
            "b/*.xml",
            "no result file b/*.xml was written; it ended with exit status 3: no",
        ),
        ("true", "old.xml", "the result files old.xml are older than the stage"),
        (f"echo '{PASSED[:-12]}' > r.xml", "r.xml", "r.xml: "),
        (
            f"echo '{PASSED}' > r.xml; echo leaked; exit 1",
            "r.xml",
            "1 test does not explain exit status 1: leaked",
        ),
        ("echo '<testsuite tests=\"0\"/>' > r.xml", "r.xml", "no test ran"),
        (f"echo '{PASSED}' > r.xml; kill -9 $$", "r.xml", "1 test does not explain SIGKILL (exit status -9)"),
        ("ln -s ../secret.xml r.xml", "r.xml", "no result file r.xml was written"),
        ("ln -s .. up", "up/secret.xml", "no result file up/secret.xml was written"),
    ],
    ids=[
        "missing",
        "failed and missing",
        "stale",
        "cut off",
        "disagree",
        "empty",
        "killed",
        "link",
        "behind one",
    ],
)
def test_without_proof_it_is_unknown(
    run_script: RunScript, context: StageContext, script: str, results: str, reason: str
) -> None:
    """Whatever the exit status says; and nothing is read that lies elsewhere."""
    (context.repository / "old.xml").write_text(PASSED)
    (context.repository.parent / "secret.xml").write_text(PASSED)

    result = run_script(script, results=(results,))

    assert result.outcome is Outcome.UNKNOWN
    assert reason in result.reason


def test_what_a_program_prints_can_be_its_result(run_script: RunScript) -> None:
    """Go and TAP print theirs, among lines of others."""
    events = (
        '{"Action":"run","Package":"p","Test":"TestA"}',
        '{"Action":"pass","Package":"p","Test":"TestA"}',
        '{"Action":"pass","Package":"p"}',
    )
    go = run_script("\n".join(f"echo '{event}'" for event in events), results=("{output}",))
    tap = run_script("echo starting; echo 1..2; echo ok 1 - a; echo not ok 2 - b", results=("{output}",))

    assert (go.outcome, [check.name for check in go.checks]) == (Outcome.PASSED, ["p::TestA"])
    assert (tap.outcome, [check.kind for check in tap.checks]) == (Outcome.FAILED, ["passed", "failed"])


def test_what_its_files_measure_is_kept(run_script: RunScript, context: StageContext) -> None:
    """For the report, and for trends."""
    said = '[{"name": "rate", "unit": "1/s", "value": 7}]'
    result = run_script(f"echo '{said}' > b.json", results=("b.json",), format_name="customBiggerIsBetter")

    assert result.outcome is Outcome.PASSED
    assert [each.value for each in read_measurements(context.run_dir / "benchmark.json")] == [7]


def test_a_file_in_no_format_is_unknown(run_script: RunScript) -> None:
    """And how it begins is said."""
    result = run_script("echo all is well > r.txt", results=("r.txt",))

    assert result.outcome is Outcome.UNKNOWN
    assert result.reason.count("it is in no format that is read (it begins with 'all is well')") == 1


def test_files_that_say_failed_are_believed_whatever_the_exit_status(run_script: RunScript) -> None:
    """Some programs end with 0 all the same."""
    result = run_script(f"echo '{FAILED}' > {{out}}/r.xml", results=("{out}/r.xml",))

    assert ended(result) == (Outcome.FAILED, "1 of 2 failed: bad: 1 is not 2")


def test_a_program_that_is_not_there_is_not_run(context: StageContext) -> None:
    """And what mends it is said; also where a script calls it."""
    alone = run_safely(CommandStage("lint", argv=["no-such-linter"], timeout_s=30), context)
    called = run_safely(CommandStage("call", argv=["sh", "-c", "no-such-linter"], timeout_s=30), context)

    for result in (alone, called):
        assert result.outcome is Outcome.UNKNOWN
        assert result.reason.startswith("not run: ")
        assert "install it where the pipeline runs, or with `prepare` in stages.toml" in result.reason
        assert result.reason == f"not run: {result.checks[0].detail}"
    assert "no-such-linter, or what it calls, is not there" in alone.reason


def test_the_time_limit(run_script: RunScript) -> None:
    """What it was about to say is kept, and the stage has failed."""
    result = run_script(f"echo '{PASSED}' > r.xml; exec sleep 60", timeout_s=1, results=("r.xml",))

    assert result.outcome is Outcome.FAILED
    assert [check.kind for check in result.checks] == ["passed", "timeout"]
    assert result.reason.count("the stage reached its time limit") == 1


def test_interruption(context: StageContext) -> None:
    """Nothing of it is passed or failed."""
    begun = context.repository / "begun"

    def stop() -> None:
        wait_for(begun.exists, what="the program has begun", timeout_s=20)
        context.stop.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    result = run_safely(
        CommandStage("x", argv=["sh", "-c", "touch begun; exec sleep 60"], timeout_s=60), context
    )
    stopper.join()

    assert result.outcome is Outcome.UNKNOWN
    assert result.reason.count("the run was interrupted") == 1


def test_what_a_stage_gets(run_script: RunScript, context: StageContext) -> None:
    """Words in braces, its variables, its folder; and none of the pipeline's own packages."""
    (context.repository / "inner").mkdir()
    result = run_script(
        'echo "$(basename "$PWD") {profile} {seed} {workers} {db} $WHERE {other} [$PYTHONPATH]"; exit 1',
        folder="inner",
        workers=3,
        environment={"WHERE": "at {db}"},
        values={"db": "pg"},
    )

    assert result.checks[0].headline == "exit status 1: inner quick 7 3 pg at pg {other} []"


def test_a_failure_that_may_be_chance_is_tried_once_more(
    run_script: RunScript, context: StageContext
) -> None:
    """It is flaky then, and the log of both attempts is kept."""
    script = f"if [ -e once ]; then echo '{BOTH}' > r.xml; else touch once; echo '{FAILED}' > r.xml; fi"

    result = run_script(script, retries=1, results=("r.xml",))

    assert (result.outcome, [check.kind for check in result.checks]) == (Outcome.PASSED, ["passed", "flaky"])
    assert (context.run_dir / "logs" / "check-2.log").exists()


def test_the_variables_that_are_kept_from_it_are_named_when_it_fails(context: StageContext) -> None:
    """One of them may be why."""
    stage = CommandStage("x", argv=["false"], timeout_s=30)
    result = run_safely(stage, replace(context, kept_back=("DATABASE_URL",)))

    assert result.remarks[-1] == (
        "the tests do not see DATABASE_URL; pass_environment in kvsync-ci.toml lets them"
    )


def test_what_runs_is_told_while_it_runs(run_script: RunScript, context: StageContext) -> None:
    """A display shows it, and the report of a run that dies meanwhile has it, undecided."""
    assert run_script("exit 0").outcome is Outcome.PASSED
    lines = list(read_lines(RunFolder(context.run_dir).tests("check")))
    died = cut_short(lines, name="check", why="the pipeline was killed")

    assert [line["event"] for line in lines] == ["collected", "started"]
    assert (died.outcome, died.checks[0].name) == (Outcome.UNKNOWN, "sh -c 'exit 0'")
