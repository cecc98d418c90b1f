"""What is new in a run, and since when what is not new has failed."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from kvsync.ci.archive.comparison import CheckId, RunComparison, Standing, compare
from kvsync.ci.archive.flakiness import Ending
from kvsync.testing.results.outcome import Check, CheckKind, merge

NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)

KINDS: dict[str, CheckKind] = {"P": "passed", "F": "failed", "Q": "quarantined", "I": "inconclusive"}

TEST = "tests/e2e/test_a.py::test_x"


def past(text: str, *, reference: bool = True) -> list[Ending]:
    """Return an ending for each letter, a day apart, the last one a day before now."""
    return [
        Ending(
            run=f"run-{number}",
            commit=f"commit-{number}-of-the-branch",
            at=NOW - timedelta(days=len(text) - number),
            kind=KINDS[letter],
            reference=reference,
        )
        for number, letter in enumerate(text)
    ]


def compared(
    kind: CheckKind, endings: Sequence[Ending], *, name: str = TEST, commit: str = "now"
) -> RunComparison:
    """Compare a run of one check with what it did before."""
    key: CheckId = ("e2e", name)
    return compare(
        [merge("e2e", [Check(name=name, kind=kind)], started_at=NOW)],
        {key: endings},
        unseen=frozenset([] if endings else [key]),
        at=NOW,
        commit=commit,
        last_green=("run-0", "commit-0"),
    )


@pytest.mark.parametrize(
    ("kind", "before", "status", "since"),
    [
        ("failed", "PP", "new", None),
        ("failed", "", "new", None),
        ("timeout", "PF", "known", "run-1"),
        ("error", "FPFIF", "known", "run-2"),
        ("failed", "PQF", "known", "run-1"),
        ("failed", "FFFFFF", "known", "run-0"),
        ("failed", "PFPF", "flaky", "run-3"),
        ("flaky", "PP", "flaky", None),
        ("quarantined", "PFF", "quarantined", "run-1"),
        ("inconclusive", "PP", "inconclusive", None),
        ("not-run", "PF", "inconclusive", None),
        ("passed", "PFF", "fixed", "run-1"),
        ("passed", "", "new-test", None),
    ],
)
def test_statuses(kind: CheckKind, before: str, status: str, since: str | None) -> None:
    """A check is judged by its last decided ending; the age is that of the failures no pass interrupts."""
    (standing,) = compared(kind, past(before)).standings

    assert (standing.status, standing.since_run or None) == (status, since)


@pytest.mark.parametrize(("kind", "before"), [("passed", "PP"), ("passed", "PFPF"), ("skipped", "PF")])
def test_nothing_to_say(kind: CheckKind, before: str) -> None:
    """A pass after a pass, a pass of what is flaky and a skip are not worth a word."""
    assert compared(kind, past(before)).standings == ()


def test_other_branches_make_no_failure_known() -> None:
    """What fails in a proposed change only is new, however often it failed there."""
    (standing,) = compared("failed", past("FF", reference=False)).standings

    assert standing.status == "new"


def test_a_pass_at_the_same_commit_is_a_proof() -> None:
    """A failure at a commit at which the check passed before is flaky, not new."""
    (standing,) = compared("failed", past("P"), commit="commit-0-of-the-branch").standings

    assert standing.status == "flaky"


@pytest.mark.parametrize(("kind", "statuses"), [("passed", []), ("failed", ["known"])])
def test_a_test_that_moved_to_another_shard_is_not_new(kind: CheckKind, statuses: list[str]) -> None:
    """It has been failing, or passing, where it was."""
    before: CheckId = ("unit-1", TEST)
    found = compare(
        [merge("unit-2", [Check(name=TEST, kind=kind)], started_at=NOW)],
        {before: past("PF")} if kind == "failed" else {},
        unseen=frozenset([("unit-2", TEST)]),
        gone=frozenset([before]),
        at=NOW,
        commit="now",
        last_green=None,
    )

    assert [each.status for each in found.standings] == statuses


def test_only_tests_are_new_tests() -> None:
    """What the pipeline itself checks differs from run to run, and is not a new test."""
    assert compared("passed", [], name="process 4711 is gone").standings == ()


@pytest.mark.parametrize(
    ("since", "text"),
    [
        (timedelta(days=12, hours=5), "failing since run run-7, commit 0123456789, 12 d"),
        (timedelta(hours=5, minutes=50), "failing since run run-7, commit 0123456789, 5 h"),
    ],
)
def test_age(since: timedelta, text: str) -> None:
    """A known failure says since which run and commit, and for how long."""
    standing = Standing(
        check=TEST,
        stage="e2e",
        status="known",
        since_run="run-7",
        since_commit="0123456789abcdef",
        since=NOW - since,
    )

    assert standing.text(NOW) == text


def standings(**counts: int) -> list[Standing]:
    """Return this many standings of each status in stage e2e; known ones are 1, 2, 3 ... days old."""
    return [
        Standing(
            check=f"{status}-{number}",
            stage="e2e",
            status=status.replace("_", "-"),  # type: ignore[arg-type]  # named by the test
            since=NOW - timedelta(days=number + 1) if status == "known" else None,
        )
        for status, count in counts.items()
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (
            {"inconclusive": 1, "known": 12, "new": 2, "flaky": 1},
            "14 failed: 2 new, 12 known (oldest 12 d); 1 flaky but passed; 1 inconclusive",
        ),
        ({"fixed": 3, "new_test": 1, "quarantined": 2}, "2 quarantined; 3 fixed; 1 test is new"),
        ({"new_test": 2}, "2 tests are new"),
        ({}, "nothing changed"),
    ],
)
def test_status_text(counts: dict[str, int], text: str) -> None:
    """One line says what changed, the worst first."""
    made = RunComparison(last_green="run-0", standings=standings(**counts), at=NOW)

    assert made.status_text() == made.status_text("e2e") == text
    assert made.status_text("unit") == "nothing changed"


def test_a_flaky_failure_is_a_failure() -> None:
    """What failed comes first, whatever is to be said of it, and adds up."""
    found = compared("failed", past("PFPF"))

    assert found.status_text() == "1 failed: 1 flaky"
    assert compared("flaky", past("PP")).status_text() == "1 flaky but passed"


def test_status_text_without_anything_to_compare_with() -> None:
    """The first run says so, and so does one whose archive could not be read; in what a status can hold."""
    assert RunComparison().status_text() == "nothing to compare with yet"
    problem = RunComparison.impossible("the archive cannot be read:\n" + "x" * 200).status_text("unit")
    assert (problem[:46], len(problem)) == ("not compared: the archive cannot be read: xxxx", 140)
