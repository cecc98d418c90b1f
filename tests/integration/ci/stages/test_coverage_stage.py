"""Stages whose coverage is measured, or read from files, and judged."""

import json
import subprocess
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from kvsync.ci.handover.coverage import judge_coverage
from kvsync.ci.page.page import coverage_pages
from kvsync.ci.project.choice import stages_of
from kvsync.ci.project.reading import read_project
from kvsync.ci.run.changes import keep_changes
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.run import Installation, Run
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.settings import Settings
from kvsync.ci.stages.making import make_stage
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.measurement import read_measurements
from kvsync.testing.results.outcome import Outcome, StageResult

CORE = """\
def sign(number):
    if number > 0:
        return 1
    return -1


if __name__ == "__main__":
    print(sign(-1))
"""

TESTS = """\
import subprocess, sys
from shop.core import sign

def test_sign():
    assert sign(1) == 1

def test_program():
    subprocess.run([sys.executable, "-m", "shop.core"], check=True, timeout=30)
"""

LCOV = "SF:web/cart.js\nDA:1,1\nDA:2,0\nend_of_record\n"

UNIT = '[stages.unit]\nkind = "pytest"\nfolder = "tests"\ncoverage = {%s}\n'

WEB = """
[stages.web]
kind = "command"
command = ["sh", "-c", "%s"]
coverage = {files = "{out}/lcov.info", minimum = 40}
"""


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """A repository with a package of which a process that a test starts runs a part, and a page."""
    repository = tmp_path / "repository"
    files = {
        "shop/__init__.py": "",
        "shop/core.py": CORE,
        "shop/unused.py": "NEVER = 1\n",
        "web/cart.js": "one\ntwo\n",
        "tests/test_core.py": TESTS,
        "pytest.ini": "[pytest]\n",  # else a repository around this folder decides
        "lcov.info": LCOV,
    }
    for name, text in files.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(text)
    git(repository, "init", "--quiet", "--initial-branch", "main")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "all")
    return StageContext(
        run_dir=tmp_path / "reports" / "run-1",
        repository=repository,
        ledger=Ledger(tmp_path / "reports" / "run-1" / "ledger.jsonl"),
        stop=threading.Event(),
    )


def git(folder: Path, *words: str) -> None:
    """Run git."""
    argv = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org", *words]
    subprocess.run(argv, check=True, timeout=30)


def run_of(context: StageContext, file: str, stages: tuple[str, ...] = ()) -> Run:
    """Return a run of a repository that says this of itself."""
    (context.repository / "stages.toml").write_text(file)
    given: dict[str, Any] = {"repository": context.repository, "report_dir": context.run_dir.parent}
    run = Run(Parameters(stages=stages, run="run-1", **given), Installation(Settings()))
    return run.of_project(read_project(context.repository))


def run_all(run: Run, context: StageContext) -> dict[str, StageResult]:
    """Run its stages, and judge what ran in all of them."""
    assert run.project is not None
    keep_changes(run)
    for name in run.parameters.stages:
        run_safely(make_stage(stages_of(run.project)[name], 60), context)
    judge_coverage(run)
    return {each.name: each for each in run.folder.results()}


def said(result: StageResult) -> dict[str, tuple[str, str]]:
    """Return how the checks about coverage ended, and why."""
    return {
        check.name.removeprefix("coverage: "): (check.kind, check.headline)
        for check in result.checks
        if check.name.startswith("coverage: ")
    }


def test_what_tests_and_their_processes_ran(context: StageContext) -> None:
    """From the first line of the process on, and without a setting; what is never loaded counts, too."""
    run = run_of(context, UNIT % 'minimum = 90, paths = {"shop/core.py" = 75, "shop/u*" = 1}')
    results = run_all(run, context)

    assert said(results["unit"]) == {
        "measured": ("measured", "6 of 7 lines and 4 of 4 branches ran"),
        "total": ("passed", "90.91 %, at least 90 % are asked for"),
        "shop/core.py": ("passed", "100.00 %, at least 75 % are asked for"),
        "shop/u*": ("failed", "0.00 %, at least 1 % are asked for"),
    }
    assert results["unit"].outcome is Outcome.FAILED
    assert {check.kind for check in results["unit"].checks if "::" in check.name} == {"passed"}
    page = (context.run_dir / "coverage" / "unit.html").read_text()
    assert "shop/unused.py" in page
    assert not list((context.run_dir / "evidence").iterdir())


def test_stages_together(context: StageContext) -> None:
    """What ran in any of them is judged, shown and measured once the run has them all."""
    file = '[coverage]\nminimum = 80\npaths = {"web/**" = {minimum = 100, of = "lines"}}\n'
    file += UNIT % "" + WEB % "cp lcov.info {out}/lcov.info"
    results = run_all(run_of(context, file), context)

    assert said(results["web"])["total"] == ("passed", "50.00 %, at least 40 % are asked for")
    assert said(results["coverage"]) == {
        "measured": ("measured", "7 of 9 lines and 4 of 4 branches ran"),
        "total": ("passed", "84.62 %, at least 80 % are asked for"),
        "web/**": ("failed", "50.00 % of lines, at least 100 % are asked for"),
    }
    measured = read_measurements(context.run_dir / "benchmark.json")
    assert {each.name for each in measured} == {"coverage", "coverage of unit", "coverage of web"}
    assert "web/cart.js" in (context.run_dir / "coverage.html").read_text()

    assert coverage_pages(context.run_dir) == {
        "Coverage": "coverage.html",
        "Coverage of unit": "coverage/unit.html",
        "Coverage of web": "coverage/web.html",
    }

    alone = run_all(run_of(context, file, ("web",)), context)
    assert "coverage" not in alone  # one stage alone says nothing of all


@pytest.mark.parametrize(
    ("script", "kind", "why"),
    [
        ("true", "not-run", "no coverage file"),
        ("echo nonsense > {out}/lcov.info", "not-run", "it is in no format that is read"),
        (
            "printf 'TAP version 14\\\\nok 1\\\\n1..1\\\\n' > {out}/lcov.info",
            "not-run",
            "is a profile of coverage",
        ),
        ("sed s,cart,other, lcov.info > {out}/lcov.info", "inconclusive", "no measured file is in the"),
    ],
    ids=["none", "damaged", "something else", "of other files"],
)
def test_coverage_that_says_nothing(context: StageContext, script: str, kind: str, why: str) -> None:
    """Is never enough: the stage is unknown, and so are all stages together."""
    results = run_all(run_of(context, "[coverage]\nminimum = 1\n" + WEB % script), context)

    assert results["web"].outcome is Outcome.UNKNOWN
    found = [detail for ended, detail in said(results["web"]).values() if ended == kind]
    assert why in "".join(found)
    assert str(context.run_dir) not in "".join(found)
    assert results["coverage"].outcome is Outcome.UNKNOWN


def test_a_file_of_an_earlier_run(context: StageContext) -> None:
    """Is not read again."""
    file = WEB.replace("{out}/lcov.info", "lcov.info")
    results = run_all(run_of(context, file % "true"), context)

    assert said(results["web"])["measured"][1].startswith("the coverage files lcov.info are older than")


def test_an_interpreter_without_coverage(context: StageContext, tmp_path: Path) -> None:
    """Its tests run all the same, and what is missing is said with its mend."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "coverage.py").write_text("raise ImportError\n")
    run = run_of(context, UNIT % "minimum = 1" + f'environment = {{PYTHONPATH = "{hidden}"}}\n')
    result = run_all(run, context)["unit"]

    assert {check.kind for check in result.checks if "::" in check.name} == {"passed"}
    assert result.outcome is Outcome.UNKNOWN
    assert said(result)["measured"][1].startswith(
        "there is no coverage.py for this interpreter; install coverage.py 7.10 or newer"
    )


@pytest.mark.parametrize(("kind", "profiler"), [("time", "pyinstrument"), ("memory", "memray")])
def test_a_profile_on_request(context: StageContext, kind: str, profiler: str) -> None:
    """Is kept with what else the stage leaves, and beside coverage; without a profiler the report says so."""
    (context.repository / "tests" / "test_core.py").write_text("def test_one(): pass\n")
    result = run_all(run_of(context, UNIT % "" + f'profile = "{kind}"\n'), context)["unit"]

    assert result.outcome is Outcome.PASSED
    page = f"evidence/unit-profile-unit/{kind}.html"
    if find_spec(profiler):
        assert f"profile: {page}" in result.remarks
        assert "<html" in (context.run_dir / page).read_text()
    else:
        mend = "install it, such as with `prepare`"
        assert f"no profile: there is no {profiler} for this interpreter; {mend}" in result.remarks


def test_the_lines_of_a_branch(context: StageContext) -> None:
    """What differs from where it left the default branch has to have run, and what did not is named."""
    git(context.repository, "checkout", "--quiet", "-b", "topic")
    (context.repository / "web" / "cart.js").write_text("one\nchanged\n")
    file = (WEB % "cp lcov.info {out}").replace("minimum", "changed")
    result = run_all(run_of(context, file), context)["web"]

    (check,) = [each for each in result.checks if each.name == "coverage: changed lines"]
    assert check.kind == "failed"
    assert check.detail == "0.00 %, at least 40 % are asked for\nweb/cart.js: 2"


def test_another_attempt_at_some_tests(context: StageContext) -> None:
    """Adds to what ran before."""
    run = run_of(context, WEB % "cp lcov.info {out}")
    assert run.project is not None
    stage = make_stage(stages_of(run.project)["web"], 60)
    kept = RunFolder(context.run_dir).coverage("web")
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({"web/cart.js": {"lines": {"2": True}, "branches": {}}}))

    result = run_safely(stage, replace(context, attempt=2, failed_only=True))

    assert said(result)["measured"][1] == "2 of 2 lines and 0 of 0 branches ran"
