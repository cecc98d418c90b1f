"""Tests that run but do not gate: for how long, how many, and what is said of them."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from kvsync.ci.run.quarantine import (
    Quarantine,
    QuarantineEntry,
    apply,
    keep_quarantine,
    load_quarantine,
    most_covered,
)
from kvsync.errors import ConfigError
from kvsync.testing.results.outcome import Check, CheckKind, Outcome, StageResult, merge

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TODAY = NOON.date()


def entry(
    test: str, *, added: date = date(2026, 11, 20), expires: date = date(2026, 12, 1)
) -> QuarantineEntry:
    """Return an entry for a test."""
    return QuarantineEntry(
        test=test, owner="@ana", reason="slow exit", issue="#12", added=added, expires=expires
    )


def stage(*kinds: CheckKind) -> StageResult:
    """Return a stage with a check of each kind, named t.py::test_0 and so on."""
    checks = [Check(name=f"t.py::test_{i}", kind=kind, detail="E   why") for i, kind in enumerate(kinds)]
    return merge("e2e", checks, started_at=NOON, duration_s=3.0, log="logs/e2e.log")


def kinds(result: StageResult) -> list[CheckKind]:
    """Return how the checks of a stage ended."""
    return [check.kind for check in result.checks]


@pytest.mark.parametrize(
    ("given", "expected", "outcome"),
    [
        (["failed", "passed"], ["quarantined", "passed"], Outcome.PASSED),
        (["timeout", "passed"], ["quarantined", "passed"], Outcome.PASSED),
        (["error", "failed"], ["quarantined", "failed"], Outcome.FAILED),
        (["failed", "skipped"], ["quarantined", "skipped"], Outcome.UNKNOWN),
        (["failed", "void"], ["quarantined", "void"], Outcome.UNKNOWN),
        (["inconclusive", "passed"], ["inconclusive", "passed"], Outcome.UNKNOWN),
        (["passed", "passed"], ["passed", "passed"], Outcome.PASSED),
        (["failed"], ["failed"], Outcome.FAILED),
    ],
    ids=["failure", "timeout", "another", "nothing else", "undecided", "not a failure", "pass", "all"],
)
def test_failures_are_set_aside(given: list[CheckKind], expected: list[CheckKind], outcome: Outcome) -> None:
    """A quarantined failure does not gate; it hides no other, and is not a pass where nothing else passed."""
    result = apply(Quarantine(quarantine=(entry("t.py::test_0"),)), stage(*given), TODAY)

    assert (kinds(result), result.outcome) == (expected, outcome)
    assert (result.name, result.started_at, result.duration_s, result.log) == (
        "e2e",
        NOON,
        3.0,
        "logs/e2e.log",
    )


def test_what_a_commit_proposes_sets_nothing_aside() -> None:
    """Where the gate does not know a failure, it is said; where it does, the gate's entry holds."""
    proposed = Quarantine(quarantine=(entry("t.py::test_0"), entry("t.py::test_1"), entry("t.py::test_2")))
    gate = Quarantine(quarantine=(entry("t.py::test_0"),))

    result = apply(gate, stage("failed", "failed", "passed"), TODAY, proposed)

    assert kinds(result) == ["quarantined", "failed", "passed"]
    assert [check.detail.endswith("counts only after it is merged") for check in result.checks] == [
        False,
        True,
        False,
    ]


def test_who_and_until_when_is_said() -> None:
    """The failure keeps its text, and says both dates, the owner, the reason and the issue."""
    result = apply(Quarantine(quarantine=(entry("t.py::test_0"),)), stage("failed", "passed"), TODAY)

    assert result.checks[0].detail == (
        "E   why\nquarantine of 2026-11-20 until 2026-12-01 by @ana: slow exit (#12)"
    )
    assert result.counts == {"passed": 1, "quarantined": 1}


@pytest.mark.parametrize(
    ("today", "kind", "said"),
    [
        (date(2026, 11, 19), "failed", ""),
        (date(2026, 11, 20), "quarantined", "quarantine of"),
        (date(2026, 12, 1), "quarantined", "quarantine of"),
        (date(2026, 12, 2), "failed", "is over: the test gates again"),
    ],
)
def test_an_entry_holds_for_its_days(today: date, kind: CheckKind, said: str) -> None:
    """Before and after its days the test gates; a failure after them says why."""
    result = apply(Quarantine(quarantine=(entry("t.py::test_0"),)), stage("failed", "passed"), today)

    assert result.checks[0].kind == kind
    assert said in result.checks[0].detail


def test_an_entry_covers_the_cases_of_its_function() -> None:
    """An entry without parameters is for all of them, one with them for that case, and neither for others."""
    names = ["t.py::test_a[1]", "t.py::test_a[2]", "t.py::test_ab", "t.py::test_b[1]", "t.py::test_b[2]"]
    names += [f"t.py::test_{number}" for number in range(30)]
    checks = [Check(name=name, kind="failed") for name in names]
    held = Quarantine(quarantine=(entry("t.py::test_a"), entry("t.py::test_b[2]")))

    result = apply(held, merge("e2e", checks, started_at=NOON), TODAY)

    assert [check.name for check in result.checks if check.kind == "quarantined"] == [
        "t.py::test_a[1]",
        "t.py::test_a[2]",
        "t.py::test_b[2]",
    ]


def test_the_entry_that_lasts_longest_decides() -> None:
    """A renewed quarantine is not ended by the entry before it."""
    old = entry("t.py::test_0", added=date(2026, 11, 1), expires=date(2026, 11, 10))
    held = Quarantine(quarantine=(old, entry("t.py::test_0")))

    assert kinds(apply(held, stage("failed", "passed"), TODAY)) == ["quarantined", "passed"]


@pytest.mark.parametrize(
    ("checks", "most"), [(0, -1), (1, 0), (2, 1), (9, 1), (19, 1), (20, 2), (100, 10), (109, 10)]
)
def test_most_covered(checks: int, most: int) -> None:
    """A tenth of a stage may be in quarantine; one test always, all never."""
    assert most_covered(checks) == most


@pytest.mark.parametrize(("covered", "kind"), [(2, "quarantined"), (3, "failed")])
def test_too_large_a_quarantine_does_not_hold(covered: int, kind: CheckKind) -> None:
    """Above a tenth of the stage everything gates, also what passed being counted."""
    held = Quarantine(quarantine=tuple(entry(f"t.py::test_{number}") for number in range(covered)))

    result = apply(held, stage("failed", *["passed"] * 19), TODAY)  # type: ignore[arg-type]  # literals

    assert result.checks[0].kind == kind
    assert ("too many tests of the stage" in result.checks[0].detail) is (kind == "failed")


def test_what_is_in_doubt_stays_so() -> None:
    """A stage that reached its time limit is not saved by a quarantine of the test that was running."""
    doubted = stage("timeout", "passed").doubted("the stage reached its time limit after 9 s")

    result = apply(Quarantine(quarantine=(entry("t.py::test_0"),)), doubted, TODAY)

    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "the stage reached its time limit after 9 s")


def test_file(tmp_path: Path) -> None:
    """The file has a table for each test; without it nothing is in quarantine."""
    file = tmp_path / "quarantine.toml"
    file.write_text(
        '[[quarantine]]\ntest = "t.py::test_0"\nowner = "@ana"\nreason = "slow exit"\nissue = "#12"\n'
        "added = 2026-11-20\nexpires = 2026-12-01\n"
    )

    assert load_quarantine(file).quarantine == (entry("t.py::test_0"),)
    assert load_quarantine(tmp_path / "none.toml") == Quarantine()


def test_every_problem_of_the_file_is_reported(tmp_path: Path) -> None:
    """What is missing, what is too long and what names no test are one message."""
    file = tmp_path / "quarantine.toml"
    file.write_text(
        '[[quarantine]]\ntest = "tests/e2e"\nowner = ""\nreason = "r"\nadded = 2026-11-20\n'
        "expires = 2026-11-21\n"
        '[[quarantine]]\ntest = "t.py::a"\nowner = "o"\nreason = "r"\nissue = "i"\nadded = 2026-11-20\n'
        "expires = 2026-12-05\n"
    )

    with pytest.raises(ConfigError) as caught:
        load_quarantine(file)

    assert list(caught.value.problems) == [
        "quarantine[0].owner: string should have at least 1 character, not ''",
        "quarantine[0].test: string should match pattern '^[^:]+::.+$', not 'tests/e2e'",
        "quarantine[0].issue: is missing",
        "quarantine[1]: expires 2026-12-05 for what was added 2026-11-20: has to be from then to 2026-12-04",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n[[quarantine", r"quarantine\.toml:2: this is not TOML: "),
        (b"\xff", r"quarantine\.toml.*\ncannot be read"),
    ],
    ids=["no TOML", "no text"],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    """A file that cannot be read is an error, not an empty quarantine."""
    (tmp_path / "quarantine.toml").write_bytes(content)

    with pytest.raises(ConfigError, match=said):
        load_quarantine(tmp_path / "quarantine.toml")


@pytest.mark.parametrize(("target", "kept"), [("other.toml", True), ("../secret", False), ("none", False)])
def test_a_run_keeps_the_quarantine_of_its_repository(tmp_path: Path, target: str, *, kept: bool) -> None:
    """It is copied before anything runs; a link of a contributor leads to nothing outside the repository."""
    repository, run_dir = tmp_path / "repository", tmp_path / "run"
    repository.mkdir()
    run_dir.mkdir()
    (tmp_path / "secret").write_text("s3cr3t")
    (repository / "other.toml").write_text("quarantine = []\n")
    (repository / "quarantine.toml").symlink_to(target)

    keep_quarantine(repository, Path("quarantine.toml"), run_dir)

    assert (run_dir / "quarantine.toml").exists() is kept
