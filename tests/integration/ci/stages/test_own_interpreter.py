"""Stages of pytest with the project's own interpreter."""

import shutil
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

from kvsync.ci.stages.prepare import PrepareStage
from kvsync.ci.stages.pytest_stage import PytestStage
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.outcome import Outcome, StageResult
from tests.projects import make_project

TESTS = """
import os, sys

import engine  # lies in src/


def test_good():
    assert engine.ANSWER == 42


class TestOf:
    def test_bad(self):
        assert sys.prefix == sys.base_prefix, "not the project's own"


def test_python_path():
    assert "PYTHONPATH" not in os.environ or not os.environ["PYTHONPATH"]
"""

OWN = "import os, sys\n\n\ndef test_own():\n    assert os.environ['VIRTUAL_ENV'] == sys.prefix\n"


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """A project with a `src` layout, an environment of its own that has pytest and not our plugin."""
    repository = make_project(tmp_path / "repository")
    (repository / "src").mkdir()
    (repository / "src" / "engine.py").write_text("ANSWER = 42\n")
    (repository / "tests").mkdir()
    (repository / "tests" / "test_it.py").write_text(TESTS)
    venv = repository / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=60)
    (packages,) = venv.glob("lib/*/site-packages")
    # As it does not read what lies beside packages, it does not find us.
    (packages / "own.pth").write_text(f"{repository / 'src'}\n{sysconfig.get_path('purelib')}\n")
    return StageContext(
        run_dir=tmp_path / "run-1",
        repository=repository,
        ledger=Ledger(tmp_path / "run-1" / "ledger.jsonl"),
        stop=threading.Event(),
    )


def run(context: StageContext, timeout_s: float = 60, python: str = ".venv/bin/python") -> StageResult:
    """Run all tests of the project."""
    return run_safely(PytestStage("unit", "tests", timeout_s, python=python), context)


def test_without_our_plugin_the_tests_are_read_from_junit(context: StageContext) -> None:
    """They have the names that they have with it, and see the project's packages, not ours."""
    result = run(context)

    assert {check.name: check.kind for check in result.checks} == {
        "tests/test_it.py::test_good": "passed",
        "tests/test_it.py::TestOf::test_bad": "failed",
        "tests/test_it.py::test_python_path": "passed",
    }
    assert result.outcome is Outcome.FAILED
    assert "not the project's own" in result.reason
    assert result.log == "logs/unit.log"


def test_its_own_environment_is_the_one_around_it(context: StageContext) -> None:
    """Programs that tests start by name are the project's."""
    (context.repository / "tests" / "test_it.py").write_text(OWN)

    assert run(context).summary() == "PASSED: unit: 1 passed"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("", "no test ran; 0 tests do not explain exit status 5"),
        (
            "import os\ndef test_a(): pass\ndef test_b(): os._exit(0)",
            "no result file {out}/junit.xml was written",
        ),
        ("import nowhere", "No module named 'nowhere'"),
    ],
    ids=["no test", "exits inside", "broken file"],
)
def test_without_proof_it_does_not_pass(context: StageContext, code: str, reason: str) -> None:
    """Whatever pytest's exit status says."""
    (context.repository / "tests" / "test_it.py").write_text(code)
    result = run(context)

    assert result.outcome is not Outcome.PASSED
    assert reason in result.reason


def test_an_interpreter_that_is_not_there(context: StageContext) -> None:
    """It says what makes one."""
    result = run(context, python=".venv-3.12/bin/python")

    assert result.outcome is Outcome.UNKNOWN
    assert result.reason == "not run: there is no .venv-3.12/bin/python; let `prepare` in stages.toml make it"


def test_with_our_plugin_it_is_used(context: StageContext) -> None:
    """Its lines say which test is running, so that a run that is killed keeps those that ended."""
    (packages,) = (context.repository / ".venv").glob("lib/*/site-packages")
    ours = Path(__file__).parents[4]
    (packages / "own.pth").write_text(f"{ours}\n{sysconfig.get_path('purelib')}\n")
    (context.repository / "tests" / "test_it.py").write_text(OWN)

    assert run(context).summary() == "PASSED: unit: 1 passed"
    assert (context.run_dir / "history" / "unit-tests.jsonl").exists()


def prepared(context: StageContext, *commands: list[str], made: str = "made") -> StageResult:
    """Prepare the project."""
    return run_safely(PrepareStage(commands, 30, made_from=("lock",), made=(made,)), context)


def test_it_is_prepared_anew_only_when_something_changed(context: StageContext) -> None:
    """The commands, the files that it is made from, or that what was made is gone."""
    count = ["sh", "-c", "echo x >> count; touch made; mkdir -p build/deep"]
    counts = []
    for change in (None, None, "lock", "made", "command", None, "build", None):
        if change == "lock":
            (context.repository / "lock").write_text("1")
        elif change == "made":
            (context.repository / "made").unlink()
        elif change == "build":  # which nobody names
            shutil.rmtree(context.repository / "build")
        elif change == "command":
            count = [*count, "more"]
        assert prepared(context, count).outcome is Outcome.PASSED
        counts.append(len((context.repository / "count").read_text().split()))

    assert counts == [1, 1, 2, 3, 4, 4, 5, 5]


def test_what_cannot_be_prepared_is_unknown_and_tried_again(context: StageContext) -> None:
    """Nothing after the first failure is run; it is nobody's test that failed."""
    result = prepared(context, ["sh", "-c", "echo no network; exit 1"], ["touch", "made"])
    again = prepared(context, ["touch", "made"])

    assert (result.outcome, result.checks[0].kind, len(result.checks)) == (Outcome.UNKNOWN, "infra-error", 1)
    assert result.checks[0].headline == "exit status 1: no network"
    assert (again.outcome, (context.repository / "made").exists()) == (Outcome.PASSED, True)
