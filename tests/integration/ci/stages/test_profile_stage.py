"""Profiles that a run asks for, of stages whose program is Python."""

import re
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from kvsync.ci.project.reading import read_project
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.run import Installation, Run
from kvsync.ci.settings import Settings
from kvsync.ci.stages.profile_runner import PROFILERS
from kvsync.ci.stages.profiles import profiled_program
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.errors import ConfigError
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.outcome import Outcome, StageResult

FILE = """\
[stages.module]
kind = "command"
command = ["{python}", "-m", "work", "-x"]

[stages.script]
kind = "command"
command = ["bin/work"]

[stages.shell]
kind = "command"
command = ["sh", "-c", "true"]

[stages.options]
kind = "command"
command = ["{python}", "-c", "pass"]

[stages.findings]
kind = "audit"
command = ["true"]
results = "x.json"
"""

WORK = "import sys\nprint('words', sys.argv[1:])\nsys.exit(3 if '-x' in sys.argv else 0)\n"


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """A repository with a module and a program."""
    repository, run_dir = tmp_path / "repository", tmp_path / "reports" / "run-1"
    (repository / "bin").mkdir(parents=True)
    (run_dir / "logs").mkdir(parents=True)
    (repository / "stages.toml").write_text(FILE.replace("{python}", sys.executable))
    (repository / "work.py").write_text(WORK)
    (repository / "bin" / "work").write_text(f"#!{sys.executable}\n{WORK}")
    (repository / "bin" / "work").chmod(0o755)
    return StageContext(
        run_dir=run_dir,
        repository=repository,
        ledger=Ledger(run_dir / "ledger.jsonl"),
        stop=threading.Event(),
    )


def run_of(context: StageContext, stage: str, profilers: dict[str, str]) -> Run:
    """A run of one stage."""
    given: dict[str, Any] = {"repository": context.repository, "report_dir": context.run_dir.parent}
    parameters = Parameters.checked(stages=(stage,), run="run-1", profilers=profilers, **given)
    return Run(parameters, Installation(Settings())).of_project(read_project(context.repository))


def result_of(context: StageContext, stage: str, kind: str) -> StageResult:
    """How a stage ends that is profiled."""
    return run_safely(run_of(context, stage, {stage: kind}).stage(stage), context)


@pytest.mark.parametrize("kind", PROFILERS)
@pytest.mark.parametrize(("stage", "outcome"), [("module", Outcome.FAILED), ("script", Outcome.PASSED)])
def test_a_program_of_python_is_profiled(
    context: StageContext, stage: str, outcome: Outcome, kind: str
) -> None:
    """It ends as it does otherwise; where there is no profiler, the report says how to have one."""
    result = result_of(context, stage, kind)
    page = f"evidence/{stage}-profile-{stage}/{kind}.html"

    assert result.outcome is outcome
    assert "profile_runner" not in result.checks[0].name
    assert (
        f"words {['-x'] if stage == 'module' else []}"
        in (context.run_dir / "logs" / f"{stage}.log").read_text()
    )
    if find_spec(PROFILERS[kind]):
        assert f"profile: {page}" in result.remarks
        written = (context.run_dir / page).read_text()
        assert "<html" in written
        assert not re.search(r'<(script|link)[^>]+(src|href)="http', written)
    else:
        assert [each for each in result.remarks if "install it" in each and PROFILERS[kind] in each]


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        ("shell", "no profile: sh is not a program of Python"),
        ("options", f"no profile: only `{Path(sys.executable).name} -m MODULE` and"),
    ],
)
def test_another_program_has_none(context: StageContext, stage: str, why: str) -> None:
    """It is run all the same, and the report says why."""
    result = result_of(context, stage, "time")

    assert result.outcome is Outcome.PASSED
    assert [each for each in result.remarks if each.startswith(why)]


@pytest.mark.parametrize(
    ("profilers", "problem"),
    [
        ({"findings": "time"}, "findings is of the kind audit; stages of pytest and command have profiles"),
        ({"module": "time"}, "module is no stage of this run, which has findings"),
        ({"nope": "time"}, "nope is no stage of this run"),
        ({"findings": "cpu"}, "Input should be 'time' or 'memory'"),
    ],
)
def test_what_has_no_profile_is_refused(
    context: StageContext, profilers: dict[str, str], problem: str
) -> None:
    """Before anything runs."""
    with pytest.raises(ConfigError, match=problem):
        run_of(context, "findings", profilers)


def test_the_command_that_repeats_a_run_has_its_profilers(context: StageContext) -> None:
    """As it has everything else that was asked for."""
    run = run_of(context, "module", {"module": "memory"})

    assert run.parameters.command.endswith("--profiler module=memory")


@pytest.mark.parametrize(
    ("line", "is_python"),
    [
        ("#!/usr/bin/python3", True),
        ("#!/usr/bin/env python3.12", True),
        ("#!/bin/sh", False),
        ("#!/usr/bin/env -S uv run", False),
        ("\x7fELF python", False),
        ("", False),
    ],
)
def test_the_first_line_tells_python(tmp_path: Path, line: str, is_python: bool) -> None:
    """Of programs with a path, and of those on PATH."""
    (tmp_path / "tool").write_text(f"{line}\n")
    (tmp_path / "tool").chmod(0o755)
    for name in ("./tool", "tool"):
        argv, why = profiled_program([name, "a"], ["WORDS"], tmp_path, str(tmp_path))
        assert ("WORDS" in argv, why == "") == (is_python, is_python)
        assert argv[-1] == "a"
