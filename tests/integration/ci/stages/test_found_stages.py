"""Benchmarks and audits as stages: what they measured and found, and nothing green without either."""

import threading
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from kvsync.ci.project.choice import stages_of
from kvsync.ci.project.reading import parse_project
from kvsync.ci.run.accepted import ACCEPTED
from kvsync.ci.run.judgement import set_aside
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.making import make_stage
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.measurement import read_measurements
from kvsync.testing.results.outcome import Outcome, StageResult
from tests.unit.ci.readers.recordings import FOLDER

RunScript = Callable[..., StageResult]

ACCEPT = """
[[accepted]]
finding = "{finding}"
owner = "@name"
reason = "it is not used"
issue = "https://example.org/1"
added = {today}
expires = {later}
"""


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """An empty repository, and a run beside it."""
    (tmp_path / "repository").mkdir()
    return StageContext(
        run_dir=tmp_path / "run-1",
        repository=tmp_path / "repository",
        ledger=Ledger(tmp_path / "run-1" / "ledger.jsonl"),
        stop=threading.Event(),
    )


@pytest.fixture
def run_script(context: StageContext) -> RunScript:
    """Run a stage of a kind that is a script of a shell; other lines of its table may be given."""

    def run(kind: str, script: str, more: str = "") -> StageResult:
        text = f"[stages.it]\nkind = '{kind}'\ncommand = ['sh', '-c', '''{script}''']\n{more}\n"
        return run_safely(make_stage(stages_of(parse_project(text))["it"], 30), context)

    return run


def test_a_benchmark_is_measured(run_script: RunScript, context: StageContext) -> None:
    """What it prints is read, and kept for trends."""
    result = run_script("benchmark", f"cat {FOLDER / 'go-bench.txt'}")

    assert result.outcome is Outcome.PASSED
    assert read_measurements(context.run_dir / "benchmark.json")


@pytest.mark.parametrize(
    ("kind", "script", "reason"),
    [
        ("benchmark", "printf 'ok 1\\n1..1\\n'", "nothing was measured: tap holds no measurement"),
        ("benchmark", "echo hello", "it is in no format that is read"),
        ("benchmark", "true", "nothing was measured: an empty file holds no measurement"),
        ("audit", "printf 'ok 1\\n1..1\\n'", "nothing was audited: tap holds no audit"),
        ("audit", f"cat {FOLDER / 'go-bench.txt'}", "nothing was audited: go-bench holds no audit"),
        ("audit", """echo '{"dependencies": [], "fixes": []}'""", "no dependencies were looked at"),
        ("audit", "no-such-program", "no-such-program: not found"),
    ],
)
def test_what_holds_nothing_is_unknown(run_script: RunScript, kind: str, script: str, reason: str) -> None:
    """Also where the exit status is 0, and where it is a file of tests that pass."""
    result = run_script(kind, script)

    assert result.outcome is Outcome.UNKNOWN
    assert reason in result.reason


def test_a_benchmark_that_ends_badly(run_script: RunScript) -> None:
    """Is not explained by what was measured until then."""
    result = run_script("benchmark", f"cat {FOLDER / 'go-bench.txt'}; exit 3")

    assert result.outcome is Outcome.UNKNOWN
    assert "do not explain exit status 3" in result.reason


def test_findings_fail_until_they_are_accepted(run_script: RunScript, context: StageContext) -> None:
    """The tool may say more than its document; its exit status is explained by the findings."""
    result = run_script("audit", f"echo Found 1; cat {FOLDER / 'pip-audit.json'}; echo; echo bye; exit 1")
    findings = [check for check in result.checks if check.kind == "failed"]
    assert result.outcome is Outcome.FAILED
    assert not result.doubt

    today = date.today()
    entries = [
        ACCEPT.format(finding=each.properties["finding"].split()[0], today=today, later=today + timedelta(9))
        for each in findings
    ]
    (context.run_dir / ACCEPTED).write_text("".join(entries))
    (judged,) = set_aside(RunFolder(context.run_dir), [result])

    assert judged.outcome is Outcome.PASSED
    assert sum(check.kind == "quarantined" for check in judged.checks) == len(findings) > 0
