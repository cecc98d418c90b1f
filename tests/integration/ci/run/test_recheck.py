"""Judging a run again: an intact one agrees with its report, one whose evidence was changed fails."""

import gzip
import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kvsync.ci.report.junit_writer import write_junit
from kvsync.ci.report.report import Report
from kvsync.ci.run.recheck import Rechecked, recheck
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.pytest_stage import PytestStage
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.faults.fault import Latency, MessageLoss, to_json
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.history import History, append_line, read_lines
from kvsync.testing.results.outcome import Outcome
from kvsync.testing.traffic.service import Service
from kvsync.testing.traffic.steady import Disturbance

NODE = "tests/some/test_it.py::test_one_pod"
TESTS = """
from kvsync.testing.scenarios.fixtures import own_cluster, provider, scenario
import pytest

@pytest.fixture
def settings():
    return {}

@pytest.fixture
def cluster(own_cluster):
    return own_cluster

def test_one_pod(scenario):
    scenario.cluster.deploy("qwen")
    scenario.ask("qwen", scenario.prompt(3))
    scenario.verify()
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The folder of a run that compared a real index with a real pod, and passed."""
    root = tmp_path_factory.mktemp("recheck")
    (root / "repository" / "tests" / "some").mkdir(parents=True)
    (root / "repository" / "tests" / "some" / "test_it.py").write_text(TESTS)
    folder = RunFolder(root / "run-1")
    context = StageContext(
        run_dir=folder.path,
        repository=root / "repository",
        ledger=Ledger(folder.ledger),
        stop=threading.Event(),
    )
    result = run_safely(PytestStage("some", "tests/some", 60), context)
    assert result.outcome is Outcome.PASSED, result.reason
    Report(
        run="run-1",
        started_at=datetime(2026, 11, 20, tzinfo=UTC),
        duration_s=1.0,
        command="kvsync-ci run",
        stages=(result,),
        parameters={},
        versions={},
        machine={},
    ).write(folder.report)
    return folder


@pytest.fixture
def run(original: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of it to change."""
    shutil.copytree(original.path, tmp_path / "run-1", ignore=shutil.ignore_patterns("tmp"))
    return RunFolder(tmp_path / "run-1")


def judged(run: RunFolder) -> Rechecked:
    """Judge it again."""
    return recheck(run, Report.read(run.report))


def comparison(run: RunFolder) -> Path:
    """Return the file of the one comparison."""
    (path,) = (run.path / "history" / "comparisons").glob("*.json.gz")
    return path


def altered(run: RunFolder, change: Callable[[dict[str, list[dict[str, object]]]], None]) -> str:
    """Change what was compared; returns the digest of it, which only its old name still has."""
    path = comparison(run)
    content = json.loads(gzip.decompress(path.read_bytes()))
    change(content)
    changed = json.dumps(content).encode()
    path.write_bytes(gzip.compress(changed))
    return hashlib.sha256(changed).hexdigest()


def lose_a_block(content: dict[str, list[dict[str, object]]]) -> None:
    """Take one block out of the stored index."""
    dumps = content["indexes"][0]["dumps"]
    assert isinstance(dumps, list)
    dumps[0]["blocks"].popitem()


def test_an_intact_run_agrees(run: RunFolder) -> None:
    """Nothing changes, and the stored report is not touched."""
    before = run.report.read_bytes()

    found = judged(run)

    assert found.report == Report.read(run.report)
    assert (found.looked_at["oracle"], found.not_kept, found.changes) == (1, 0, ())
    assert found.summary() == "judged again: 1 comparisons; 0 changed"
    assert run.report.read_bytes() == before


def test_a_changed_comparison_fails(run: RunFolder) -> None:
    """A stored comparison that is not the one that was made fails its test."""
    altered(run, lose_a_block)

    found = judged(run)

    assert found.report.verdict is Outcome.FAILED
    (change,) = found.changes
    assert (change.check, change.before, change.after) == (NODE, "passed", "failed")
    assert change.why.startswith("what was compared was changed afterwards: ")


def test_a_forged_comparison_fails(run: RunFolder) -> None:
    """With a forged digest, too, the oracle still misses the block."""
    old = comparison(run)
    digest = altered(run, lose_a_block)
    old.rename(old.with_name(f"{digest}.json.gz"))
    history = run.path / "history" / "some.jsonl"
    history.write_text(history.read_text().replace(old.name.partition(".")[0], digest))

    (change,) = judged(run).changes

    assert change.after == "failed"
    assert change.why.startswith("the index is wrong: ")
    assert "lost: 1 on pod qwen-" in change.why


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b"{}")], ids=["empty", "torn", "other"])
def test_a_damaged_comparison_fails(run: RunFolder, content: bytes) -> None:
    """What cannot be read is not what was compared."""
    comparison(run).write_bytes(content)

    assert [change.after for change in judged(run).changes] == ["failed"]


def test_a_missing_comparison_is_no_proof(run: RunFolder) -> None:
    """Without the evidence a passed test is undecided."""
    comparison(run).unlink()

    found = judged(run)

    assert [change.after for change in found.changes] == ["inconclusive"]
    assert found.report.verdict is Outcome.UNKNOWN


def test_a_polished_report_fails(run: RunFolder) -> None:
    """The lines that tests wrote are believed before the report; what it left out is added."""
    lines = run.tests("some")
    for name in ("test_one_pod", "test_gone"):
        nodeid = f"tests/some/test_it.py::{name}"
        append_line(lines, {"event": "finished", "nodeid": nodeid, "kind": "failed"})

    changes = judged(run).changes

    assert [(change.check.rpartition("::")[2], change.before, change.after) for change in changes] == [
        ("test_one_pod", "passed", "failed"),
        ("test_gone", "not-run", "failed"),
    ]


def test_without_lines_a_pass_is_no_proof(run: RunFolder) -> None:
    """A check that passed by the report alone is undecided when other tests wrote lines and it did not."""
    lines = [line for line in read_lines(run.tests("some")) if line["event"] != "finished"]
    run.tests("some").unlink()
    for line in lines:
        append_line(run.tests("some"), line)
    other = "tests/some/test_it.py::test_other"
    append_line(run.tests("some"), {"event": "finished", "nodeid": other, "kind": "passed"})

    assert [change.after for change in judged(run).changes] == ["not-run", "passed"]


def test_a_stage_whose_evidence_is_gone(run: RunFolder) -> None:
    """It is unknown, whatever its report says; JUnit files are evidence, too."""
    shutil.rmtree(run.path / "history")
    result = Report.read(run.report).stages[0]
    write_junit(result, run.junit("some"), {})

    assert judged(run).report.verdict is Outcome.PASSED

    shutil.rmtree(run.path / "junit")

    assert judged(run).report.verdict_line() == "UNKNOWN: some: its evidence is gone"


SERVED = Service(
    requests=1000, availability=1.0, rate_per_s=20.0, p95_s=0.1, slowest_s=1.0, control_p95_s=0.1
)
LOSS = to_json(MessageLoss(pod="qwen-0", fraction=0.5))


@pytest.mark.parametrize(
    ("record", "after", "why"),
    [
        (
            {"f": "recovery", "type": "ok", "seconds": 31.0},
            "failed",
            "recovery took 31.0 s, the goal is 30 s",
        ),
        ({"f": "fault", "type": "start", "proof": "", "fault": LOSS}, "void", "no effect was measured of "),
        ({"f": "fault", "type": "stop", "proof": "", "fault": LOSS}, "inconclusive", "it was not seen to go"),
        (
            {
                "f": "service",
                "fault": LOSS,
                "baseline": asdict(SERVED),
                "during": {**asdict(SERVED), "availability": 0.5},
            },
            "failed",
            "availability was 50.00%, below 99 %; errors increased by 50.00%",
        ),
        ({"f": "service", "fault": {}, "baseline": {}, "during": {}}, "failed", "broken record: "),
    ],
    ids=["recovery", "no effect", "not gone", "service", "broken"],
)
def test_limits_of_today(run: RunFolder, record: dict[str, object], after: str, why: str) -> None:
    """What was within the limits of its day is held against those of today."""
    append_line(run.path / "history" / "some.jsonl", {"t_mono": 1.0, "test": NODE, **record})

    (change,) = judged(run).changes

    assert change.after == after
    assert change.why.startswith(why)


def test_service_within_the_limits(run: RunFolder) -> None:
    """What a fault is known to slow is not judged by its p95, also from what was written down."""
    slower = Service(**{**asdict(SERVED), "p95_s": 5.0})
    history = History(run.path / "history" / "some.jsonl", proc="some").bind(test=NODE)
    Disturbance(fault=Latency(pod="qwen-0", delay_s=0.1), baseline=SERVED, during=slower).record(history)

    found = judged(run)

    assert (found.looked_at["service"], found.changes) == (1, ())


def test_a_false_alarm_is_undecided(run: RunFolder) -> None:
    """A test that a comparison failed which is right by today's rules did not run to its end."""
    history = run.path / "history" / "some.jsonl"
    history.write_text(
        history.read_text().replace('"f": "oracle", "type": "ok"', '"f": "oracle", "type": "fail"')
    )
    report = json.loads(run.report.read_text())
    report["stages"][0]["checks"][0] |= {"kind": "failed", "properties": {"invariant": "broken"}}
    run.report.write_text(json.dumps(report))

    (change,) = judged(run).changes

    assert (change.before, change.after) == ("failed", "inconclusive")


def test_evidence_of_an_earlier_attempt_does_not_count(run: RunFolder) -> None:
    """A recovery that took too long at the first attempt is told by that attempt's ending alone."""
    history = run.path / "history" / "some.jsonl"
    for line in [*read_lines(run.tests("some"))]:
        append_line(run.tests("some"), line)
    append_line(history, {"t_mono": 1.0, "test": NODE, "f": "recovery", "type": "fail", "seconds": 31.0})
    append_line(history, {"t_mono": 2.0, "test": f"{NODE} (attempt 2)", "f": "recovery", "seconds": 1.0})

    found = judged(run)

    assert (found.looked_at["recovery"], found.changes) == (1, ())
