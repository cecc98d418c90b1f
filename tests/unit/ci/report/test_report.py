"""The report: its verdict follows from its stages, in one line, as an exit status and as JSON."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kvsync.ci.report.problems import doubts, fingerprint, problems
from kvsync.ci.report.report import Report, Subject, versions_of
from kvsync.ci.run_folder import RunFolder
from kvsync.errors import ConfigError
from kvsync.testing.results.outcome import Check, CheckKind, Outcome, StageResult, merge

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def stage(name: str, *kinds: CheckKind, detail: str = "E   assert 3 == 4\nmore") -> StageResult:
    """Return a stage with one check of each kind."""
    checks = [Check(name=f"t.py::test_{i}", kind=kind, detail=detail) for i, kind in enumerate(kinds)]
    return merge(name, checks, started_at=NOON, duration_s=1.0)


def report(*stages: StageResult) -> Report:
    """Return a report on these stages."""
    return Report(
        run="run-1",
        started_at=NOON,
        duration_s=12.5,
        command="kvsync-ci run unit --seed 7",
        stages=stages,
        parameters={"seed": 7, "stages": ["unit"]},
        commit="abc",
        dirty=True,
        versions={"pytest": "9"},
        machine={"cpus": "2"},
    )


@pytest.mark.parametrize(
    ("stages", "status", "line"),
    [
        ([], 2, "UNKNOWN: no stage ran"),
        ([stage("unit", "passed", "passed"), stage("e2e", "passed")], 0, "PASSED: 2 stages, 3 checks"),
        ([stage("unit", "passed")], 0, "PASSED: 1 stage, 1 check"),
        (
            [stage("unit", "passed"), stage("e2e", "passed", "failed")],
            1,
            "FAILED: e2e: 1 of 2 failed: test_1: assert 3 == 4",
        ),
        (
            [stage("unit", "passed"), stage("load")],
            2,
            "UNKNOWN: load: no test ran",
        ),
        (
            [stage("unit", "failed"), stage("load", "void"), stage("e2e", "error")],
            1,
            ("FAILED: unit: 1 of 1 failed: test_0: assert 3 == 4; e2e: 1 of 1 failed: test_0: assert 3 == 4"),
        ),
    ],
    ids=["nothing", "passed", "one check", "failed", "unknown", "failed hides unknown"],
)
def test_verdict(stages: Sequence[StageResult], status: int, line: str) -> None:
    """The verdict is the worst outcome, with the reasons of the stages that decided it."""
    made = report(*stages)

    assert (made.exit_status, made.verdict_line()) == (status, line)


def test_verdict_is_one_line() -> None:
    """Line ends in a reason do not break the line."""
    broken = StageResult.unknown("e2e", "the stage\nitself  broke", started_at=NOON)

    assert report(broken).verdict_line() == "UNKNOWN: e2e: the stage itself broke"


def test_file_round_trip(tmp_path: Path) -> None:
    """A report is read back as it was written; the file names verdict and reason for other readers."""
    made = report(stage("unit", "passed", "void"))

    made.write(tmp_path / "report.json")

    assert Report.read(tmp_path / "report.json") == made
    written = json.loads((tmp_path / "report.json").read_text())
    assert (written["verdict"], written["reason"]) == (
        "unknown",
        "unit: 1 of 2 undecided: test_1: assert 3 == 4",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"{}", b"[]", b"null", b'{"stages": [1], "started_at": "today"}', b"\xff", None],
    ids=["empty", "torn", "nothing", "list", "null", "other", "no text", "no file"],
)
def test_a_report_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    """It is said of which file, and what to do."""
    path = tmp_path / "run-1" / "report.json"
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"run-1/report.json: 1 problem.*\n.*kvsync-ci rerun run-1"):
        Report.read(path)


def test_the_result_of_a_stage_that_cannot_be_read(tmp_path: Path) -> None:
    """Of a file that is empty, as after a loss of power, the stage is unknown, and says why."""
    folder = RunFolder(tmp_path)
    folder.save(stage("unit", "passed"))
    assert folder.result("unit") == stage("unit", "passed")
    for content in ("", "{}", "[]", '{"outcome": "green"}'):
        (tmp_path / "results" / "unit.json").write_text(content)

        (found,) = folder.results()

        assert (found.name, found.outcome) == ("unit", Outcome.UNKNOWN)
        assert found.reason.startswith("its result cannot be read: ")


def test_versions_of_what_is_installed() -> None:
    """A package that is not installed has no version, which is not an error."""
    assert list(versions_of(["pytest", "no-such-package"])) == ["pytest"]


def test_problems_with_one_cause_are_one_problem() -> None:
    """Checks that end alike, but for numbers, are grouped; the worst and the largest group come first."""
    found = problems(
        report(
            stage("a", "void", detail="no effect"),
            stage("b", "failed", "passed", "skipped", detail="port 5557 of 127.0.0.3 refused at 0x7fa3"),
            stage("c", "error", detail="other"),
            stage("d", "failed", detail="port 5558 of 127.9.0.1 refused at 0x12bc"),
        )
    )

    assert [(problem.kind, [name for name, _ in problem.checks]) for problem in found] == [
        ("failed", ["b", "d"]),
        ("error", ["c"]),
        ("void", ["a"]),
    ]
    assert found[0].outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("lost block 00c1f2a9e4b7d310", "lost block 77ab01d2c3e4f560", True),
        ("took 1.25 s", "took 17 s", True),
        ("pod a is gone", "pod b is gone", False),
        ("lost 1 block", "phantom 1 block", False),
    ],
)
def test_fingerprint(one: str, other: str, same: bool) -> None:
    """Numbers and hashes do not tell messages apart, words do."""
    assert (fingerprint(one) == fingerprint(other)) is same


def test_links_of_what_was_tested() -> None:
    """On the server of a repository called owner/name; a pull request's branch may be a fork's."""
    source = {
        "url": "https://h/me/gw.git",
        "repository": "me/gw",
        "commit": "ab",
        "ref": "a b",
        "author": "x[bot]",
    }
    pushed = Subject.of({"source": source}).links
    proposed = Subject.of({"source": {**source, "pull_request": 7, "author": ""}}).links

    base = "https://h/me/gw"
    assert pushed == {
        "repository": base,
        "commit": f"{base}/commit/ab",
        "branch": f"{base}/tree/a%20b",
        "author": "https://h/x%5Bbot%5D",
    }
    assert proposed == {"repository": base, "commit": f"{base}/commit/ab", "pull_request": f"{base}/pull/7"}
    assert Subject.of({"source": {**source, "repository": ""}}).links == {}


@pytest.mark.parametrize(
    ("asked", "code", "text"),
    [
        pytest.param({"repository": "/a/gw"}, {}, "/a/gw", id="a folder"),
        pytest.param(
            {"repository": "/a/gw"},
            {"commit": "0123456789abc", "branch": "main", "dirty": True},
            "/a/gw@0123456789* (main)",
            id="uncommitted changes",
        ),
        pytest.param(
            {"source": {"url": "https://h/me/gw", "repository": "me/gw", "commit": "ab", "pull_request": 7}},
            {},
            "me/gw@ab (#7)",
            id="a pull request",
        ),
        pytest.param(
            {"source": {"url": "ssh://h/me/gw.git", "commit": "ab"}}, {}, "ssh://h/me/gw@ab", id="a commit"
        ),
    ],
)
def test_what_was_tested_in_a_few_words(asked: dict[str, object], code: dict[str, Any], text: str) -> None:
    """Repository, commit, and the pull request or the branch; a star says that files were changed."""
    assert str(Subject.of(asked, **code)) == text


def test_a_doubt_that_no_check_explains_is_among_what_did_not_pass() -> None:
    """Such as a file that was cut off; one that a check has in its words is not said twice."""
    cut = stage("cut", "passed").doubted("junit.xml: only its first 64 MiB were read")
    late = stage("late", "timeout", detail="the time limit was reached").doubted("the time limit was reached")

    assert doubts(report(stage("fine", "passed"), stage("bad", "failed"), cut, late)) == [cut]
