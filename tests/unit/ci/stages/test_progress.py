"""How far a stage is, and what of it is told while it runs."""

import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from deployments.progress import SILENT_S, silence
from kvsync.ci.readers.audits.finding import IDS
from kvsync.ci.run.judgement import gating
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.progress import NewLines, RunProgress, StageProgress
from kvsync.testing.results.history import Record
from kvsync.testing.results.outcome import Check, merge
from tasks.progress import MOST_OTHERS, MOST_PASSED, Endings

ACCEPTED = """
[[accepted]]
finding = "PYSEC-1"
owner = "@name"
reason = "x"
issue = "1"
added = 2026-11-20
expires = 2026-11-21
"""


def finished(number: int, kind: str, detail: str = "") -> dict[str, object]:
    """Return the line of a test that ended."""
    return {"event": "finished", "nodeid": f"t.py::test_{number}", "kind": kind, "detail": detail}


def test_percent_is_of_what_was_collected() -> None:
    """Nothing before the collection, and never more than everything when tests run again."""
    progress = StageProgress("unit")
    assert progress.percent == 0.0

    seen = []
    for record in [{"event": "collected", "count": 4}, *(finished(n, "passed") for n in range(5))]:
        progress.advance(record, 1.0)
        seen.append(progress.percent)

    assert seen == [0.0, 25.0, 50.0, 75.0, 100.0, 100.0]


def test_the_stages_of_a_commit_are_known_once_it_was_fetched(tmp_path: Path) -> None:
    """Until the first one begins they may become others; then they stay."""
    folder, names = RunFolder(tmp_path), ["unit"]
    progress = RunProgress(folder, lambda: names, partial(gating, folder))
    names[:] = ["unit-3.11", "unit-3.12"]
    folder.tests("unit-3.11").parent.mkdir(parents=True)
    folder.tests("unit-3.11").write_text("")
    progress.refresh()
    folder.tests("unit-3.11").write_text('{"event": "collected", "count": 1}\n')
    progress.refresh()
    names[:] = ["others"]
    progress.refresh()

    assert [(stage.name, stage.total) for stage in progress.stages] == [("unit-3.11", 1), ("unit-3.12", 0)]


def test_what_goes_on_before_the_first_stage_is_said_after_some_seconds(tmp_path: Path) -> None:
    """The guardian of an earlier attempt does not mean that Prefect has begun with this one."""
    folder, seen = RunFolder(tmp_path), []
    folder.logs.mkdir()
    folder.guardian_log.touch()
    os.utime(folder.guardian_log, (1, 1))
    progress = RunProgress(folder, lambda: ["unit"], partial(gating, folder))
    seen.append(progress.before_stages)
    folder.guardian_log.touch()
    seen.append(progress.before_stages)
    progress.stages[0].advance({"event": "collected", "count": 1}, 1.0)
    seen.append(progress.before_stages)

    assert seen == ["Prefect is starting", "the first stage is made ready", ""]
    assert [silence(seen[0], SILENT_S - 1), silence(seen[2], 99)] == ["", ""]
    assert silence(seen[0], 7.2) == "Prefect is starting, for 7 s so far"


def test_a_stage_that_ended_is_shown_as_the_verdict_takes_it(tmp_path: Path) -> None:
    """Without the findings that its repository accepts."""
    folder = RunFolder(tmp_path)
    progress = RunProgress(folder, lambda: ["deps"], partial(gating, folder))
    (tmp_path / "accepted.toml").write_text(ACCEPTED)
    checks = [
        Check(name=name, kind="failed", detail="x", properties={IDS: name}) for name in ("PYSEC-1", "PYSEC-2")
    ]
    folder.save(merge("deps", checks, started_at=datetime(2026, 11, 20, tzinfo=UTC)))

    (ended,) = progress.refresh()

    assert ended.result
    assert ended.result.summary() == "FAILED: deps: 1 of 2 failed: PYSEC-2: x"
    assert ended.counts == "2 checks: 1 quarantined, 1 failed"


def test_the_checks_of_a_stage_are_counted_in_english() -> None:
    """One is not several."""
    check = Check(name="a", kind="passed")
    ended = [merge("unit", checks, started_at=datetime.now(UTC)) for checks in ([check], [check, check])]

    said = [StageProgress("unit", result=each).counts for each in ended]
    assert said == ["1 check: 1 passed", "2 checks: 2 passed"]


def test_a_test_that_is_tried_again_counts_once() -> None:
    """By its last attempt: a stage of two tests has no third."""
    progress = StageProgress("unit")
    for record in [
        {"event": "collected", "count": 2, "only": False},
        finished(1, "failed"),
        finished(2, "passed"),
        {"event": "collected", "count": 1, "only": True},
        finished(1, "passed"),
    ]:
        progress.advance(record, 1.0)

    assert progress.counts == "2 of 2: 2 passed"


def test_of_several_running_tests_the_last_is_named() -> None:
    """Where several processes run tests, the end of one does not hide the others."""
    progress, seen = StageProgress("unit"), []
    started: list[Record] = [{"event": "started", "nodeid": f"t.py::test_{number}"} for number in (1, 2)]

    for record in [*started, finished(2, "passed"), finished(1, "passed")]:
        progress.advance(record, 1.0)
        seen.append(progress.running)

    assert seen == ["test_1", "test_2", "test_1", ""]


def test_only_whole_new_lines_are_read(tmp_path: Path) -> None:
    """What was there before is of an earlier attempt; a line is read when it is whole, once."""
    path = tmp_path / "lines.jsonl"
    path.write_text('{"n": 0}\n')
    lines = NewLines(path)
    read = []
    for text in ('{"n": 1}\n{"n"', ": 2}\n", ""):
        with path.open("a") as file:
            file.write(text)
        read.append([*lines.read()])

    assert read == [[{"n": 1}], [{"n": 2}], []]


def test_endings_are_told_up_to_a_number() -> None:
    """Failures with their last line, and they have room that passes cannot take; nothing else is told."""
    said: list[tuple[int, str]] = []
    endings = Endings(lambda level, line: said.append((level, line)))
    endings.tell({"event": "started", "nodeid": "t.py::test_0"})
    for number in range(MOST_PASSED + 5):
        endings.tell(finished(number, "passed"))
    for number in range(MOST_OTHERS + 5):
        endings.tell(finished(number, "failed", "E  x\nE  it is broken"))

    assert len(said) == MOST_PASSED + 1 + MOST_OTHERS + 1
    assert said[0] == (20, "passed: t.py::test_0")
    assert said[MOST_PASSED] == (20, "more tests pass; see the log of the stage")
    assert said[MOST_PASSED + 1] == (30, "failed: t.py::test_0: E  it is broken")
    assert said[-1] == (20, "more tests do not pass; see the log of the stage")
