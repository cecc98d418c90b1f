"""Benchmark stages that are compared with the commit at which the tested code left its base."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kvsync.ci.box.box import Box
from kvsync.ci.cleaning.residue import clear, find
from kvsync.ci.project.choice import stages_of
from kvsync.ci.project.reading import read_project
from kvsync.ci.run.changes import keep_changes
from kvsync.ci.run.parameters import CommitSource, Parameters
from kvsync.ci.run.run import Installation, Run
from kvsync.ci.settings import Settings
from kvsync.ci.stages.making import make_stage
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.ci.stages.workspace import DEPTHS, WorkspaceStage
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.measurement import read_measurements
from kvsync.testing.results.outcome import Outcome, StageResult
from tests.integration.ci.stages.test_coverage_stage import git

STAGES = """
[project]
prepare = [["sh", "-c", "cp costs.json built.json"]]

[stages.costs]
kind = "benchmark"
command = ["sh", "-c", "cat built.json"]
format = "customSmallerIsBetter"
compare = {pairs = 5%s}
"""

Compared = Callable[..., StageResult]


def costs(**values: float) -> str:
    """Return what a program prints that measured these."""
    return json.dumps([{"name": name, "unit": "us", "value": value} for name, value in values.items()])


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """A repository whose first commit costs 100 and 7, on a branch that has gone on since."""
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet", "--initial-branch", "main")
    (repository / "stages.toml").write_text(STAGES % "")
    (repository / ".gitignore").write_text("built.json\n")
    (repository / "costs.json").write_text(costs(apply=100, match=7))
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "first")
    git(repository, "switch", "--quiet", "--create", "feature")
    git(repository, "switch", "--quiet", "main")
    (repository / "costs.json").write_text(costs(apply=1, match=1))
    git(repository, "commit", "--quiet", "--all", "--message", "main goes on, a hundred times as fast")
    git(repository, "switch", "--quiet", "feature")
    return fresh(tmp_path)


def fresh(folder: Path) -> StageContext:
    """Return what a stage of the repository in this folder may use.

    One test clears up after the run, which ends all processes of its name: no other file has a run of it.
    """
    run_dir = folder / "reports" / "compared-7"
    ledger = Ledger(run_dir / "ledger.jsonl")
    return StageContext(
        run_dir=run_dir, repository=folder / "repository", ledger=ledger, stop=threading.Event()
    )


@pytest.fixture
def compared(context: StageContext) -> Compared:
    """Run the stage with these files at hand, as a run does it, and with more in its table."""

    def run(more: str = "", files: Mapping[str, str] | None = None) -> StageResult:
        (context.repository / "stages.toml").write_text(STAGES % more)
        for name, text in (files or {}).items():
            (context.repository / name).write_text(text)
        keep_changes(run_of(context))
        return once(context)

    return run


def run_of(context: StageContext, source: CommitSource | None = None) -> Run:
    """Return the run of the repository, or of a commit of it."""
    parameters = Parameters(
        repository=context.repository,
        report_dir=context.run_dir.parent,
        run=context.run_dir.name,
        source=source,
    )
    return Run(parameters, Installation(Settings()))


def once(context: StageContext) -> StageResult:
    """Prepare the stage's folder, and run it."""
    (context.repository / "built.json").write_text((context.repository / "costs.json").read_text())
    project = read_project(context.repository)
    return run_safely(make_stage(stages_of(project)["costs"], 60), context)


def said(result: StageResult) -> dict[str, tuple[str, str]]:
    """Return how the check of each measure ended, and why."""
    return {each.name.partition(":")[0]: (each.kind, each.headline) for each in result.checks}


def test_what_is_slower_than_at_the_merge_base_fails(compared: Compared, context: StageContext) -> None:
    """Not than at the end of the base branch; the base is made ready as it says itself, and is gone."""
    result = compared(files={"costs.json": costs(apply=110, match=7)})

    found = said(result)
    assert found["apply"][0] == "failed"
    assert found["apply"][1].startswith("it costs 10.0% more than at ")
    assert found["match"][0] == "passed"
    assert result.outcome is Outcome.FAILED
    (failed,) = [each for each in result.checks if each.kind == "failed"]
    assert "medians of 5 pairs: 100 us there, 110 here (+10.0%, p = 0.004 by" in failed.detail
    assert "again: kvsync-ci ab " in failed.detail
    assert not leftovers([context.ledger.path])
    assert not list(context.run_dir.glob("compared/*"))
    kept = json.loads((context.run_dir / "evidence" / "costs" / "compared.json").read_text())
    assert [len(each["samples"]["head"]) for each in kept["metrics"]] == [5, 5]


@pytest.mark.parametrize(
    ("more", "now", "ends"),
    [
        ("", costs(apply=90, match=7), {"apply": "passed", "match": "passed"}),
        (', measures = "match"', costs(apply=200, match=7), {"match": "passed"}),
        (
            ', measures = ["match", "has*"]',
            costs(apply=90, match=7),
            {"match": "passed", "has*": "inconclusive"},
        ),
        ("", costs(apply=100), {"apply": "passed", "match": "inconclusive"}),
        (', inconclusive = "shown"', costs(apply=100), {"apply": "passed", "match": "skipped"}),
        ("", costs(apply=100, match=7, hash=3), {"apply": "passed", "match": "passed"}),
        (', prepare = [["false"]]', costs(apply=100), {}),
    ],
    ids=["faster", "not asked", "asked in vain", "gone", "gone, shown", "new", "not ready"],
)
def test_each_measure_is_a_check(compared: Compared, more: str, now: str, ends: dict[str, str]) -> None:
    """Of those that are asked; one that is not measured any more is undecided, a new one is not."""
    result = compared(more, {"costs.json": now})

    kinds = {
        name: kind for name, (kind, _) in said(result).items() if name in ("apply", "match", "hash", "has*")
    }
    assert kinds == ends
    is_passed = ends and set(ends.values()) <= {"passed", "skipped"}
    assert result.outcome is (Outcome.PASSED if is_passed else Outcome.UNKNOWN)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("git checkout -q main; git branch -qD feature; git reset -q --hard", "it is only measured"),
        ("git checkout -q --orphan alone; git commit -qm alone", "its base is not known"),
    ],
    ids=["of the branch itself", "without a base"],
)
def test_without_a_base_nothing_is_compared(context: StageContext, broken: str, says: str) -> None:
    """What has no base is undecided; a commit of the base branch itself is measured."""
    for words in broken.split("; "):
        git(context.repository, *words.split()[1:])
    keep_changes(run_of(context))
    result = once(context)

    assert any(says in text for text in (result.reason, *result.remarks))


def test_what_cannot_be_made_ready_says_where_to_look(compared: Compared, context: StageContext) -> None:
    """All that the commands printed outlives the folder of the base."""
    result = compared(', prepare = [["sh", "-c", "echo first; test -e here"]]', {"here": ""})

    assert "its base could not be made ready" in result.reason
    assert "logs/costs-ready.log has all it said" in result.checks[-1].detail
    assert (context.run_dir / "logs" / "costs-ready.log").read_text() == "first\nfirst\n"


def test_a_full_run_says_what_the_gate_is_worth(context: StageContext) -> None:
    """Where nothing is changed, two copies of it are compared; what spreads too much is unable to gate."""
    noisy = """
import json, random
costs = {"steady": 100 + random.random(), "noisy": 100 + 50 * random.random()}
print(json.dumps([{"name": name, "unit": "us", "value": value} for name, value in costs.items()]))
"""
    (context.repository / "noisy.py").write_text(noisy)
    given = (STAGES % ", trials = 2").replace('"sh", "-c", "cat built.json"', '"{python}", "noisy.py"')
    (context.repository / "stages.toml").write_text(given)
    git(context.repository, "add", ".")
    git(context.repository, "commit", "--quiet", "--message", "noisy")
    git(context.repository, "branch", "--force", "main")
    keep_changes(run_of(context))
    result = once(replace(context, profile="full"))

    ends = {each.name: each.kind for each in result.checks if "gate" in each.name}
    assert ends == {"steady: able to gate": "passed", "noisy: able to gate": "skipped"}
    assert result.outcome is Outcome.PASSED
    assert [each.partition(":")[0] for each in result.remarks] == ["unable to gate"]
    kept = {(each.name, each.metric): each for each in read_measurements(context.run_dir / "benchmark.json")}
    assert kept["steady", "aa_false_alarms"].value == 0
    assert 1 <= kept["steady", "aa_seen"].value <= 10
    assert kept["steady", "aa_seen"].samples == 2


def test_a_stage_that_the_base_does_not_have_is_new(context: StageContext) -> None:
    """It is measured, and compared from the next change on."""
    (context.repository / "stages.toml").write_text((STAGES % "").replace("stages.costs", "stages.other"))
    git(context.repository, "commit", "--quiet", "--all", "--amend", "--message", "another first")
    git(context.repository, "branch", "--force", "main")
    (context.repository / "stages.toml").write_text(STAGES % "")
    keep_changes(run_of(context))

    assert any("the stage is new" in each for each in once(context).remarks)


def test_a_fetched_commit_is_compared(context: StageContext, tmp_path: Path) -> None:
    """In a repository as a run has it: shallow, and without a branch."""
    for number in range(DEPTHS[0] + 5):
        git(context.repository, "commit", "--quiet", "--allow-empty", "--message", str(number))
    git(context.repository, "branch", "--force", "main")
    (context.repository / "costs.json").write_text(costs(apply=150, match=7))
    git(context.repository, "commit", "--quiet", "--all", "--message", "slower")
    commit = (context.repository / ".git" / "refs" / "heads" / "feature").read_text().strip()
    source = CommitSource(
        url=context.repository.as_uri(), commit=commit, ref="feature", base="main", pull_request=1
    )
    run = run_of(context, source)
    there = replace(context, repository=run.parameters.checkout)
    stage = WorkspaceStage(source.url, commit, gate=source.gate)
    assert run_safely(stage, there).outcome is Outcome.PASSED
    keep_changes(run)

    assert (there.repository / ".git" / "shallow").exists()
    assert said(once(there))["apply"][0] == "failed"


def test_what_takes_too_long_is_undecided(compared: Compared, context: StageContext) -> None:
    """Its time is that of the stage, however many pairs are left."""
    slow = (STAGES % "").replace("cat built", "sleep 1; cat built") + 'timeout = "2s"\n'
    (context.repository / "stages.toml").write_text(slow)
    (context.repository / "costs.json").write_text(costs(apply=100))
    keep_changes(run_of(context))
    result = once(context)

    assert "in batch 1, at pair" in result.reason or "could not be measured" in result.reason
    assert result.outcome is Outcome.UNKNOWN
    assert not list(context.run_dir.glob("compared/*"))


def test_nothing_is_compared_in_a_box(compared: Compared, context: StageContext) -> None:
    """A base cannot be made ready there, and the tested code must not decide what happens elsewhere."""
    compared()
    result = once(replace(context, box=Box()))

    assert "in a box its base has neither" in result.reason
    assert result.outcome is Outcome.UNKNOWN


KILLED = """
import sys
from pathlib import Path
from tests.integration.ci.stages.test_compared_stage import fresh, once
once(fresh(Path(sys.argv[1])))
"""


def test_the_base_goes_also_after_a_kill(compared: Compared, context: StageContext) -> None:
    """By the ledger, with what measured it."""
    compared(files={"costs.json": costs(apply=100)})
    slow = (STAGES % "").replace("cat built", "test -e here || sleep 60; cat built")
    (context.repository / "stages.toml").write_text(slow)
    (context.repository / "here").touch()  # and not at the base
    argv = [sys.executable, "-c", KILLED, str(context.repository.parent)]
    process = subprocess.Popen(argv, cwd=Path(__file__).parents[4])
    base = context.run_dir / "compared" / "costs" / "base"
    wait_for((base / "built.json").exists, what="the base is ready", timeout_s=60, interval_s=0.05)
    process.kill()
    process.wait()

    clear(find(context.ledger.path), context.ledger)
    assert not list(context.run_dir.glob("compared/*"))
    assert not leftovers([context.ledger.path])
