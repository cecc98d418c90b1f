"""Two runs side by side: each change has one name, and nothing that fails is hidden by how they compare."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from kvsync.ci.report.difference import Change, RunDifference, difference
from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import Check, CheckKind, StageResult, merge

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def run(*stages: StageResult, profile: str = "quick") -> Report:
    """Return a report on stages."""
    return Report(
        run="run",
        started_at=NOON,
        duration_s=1.0,
        command="",
        stages=stages,
        parameters={"profile": profile},
        versions={},
        machine={},
    )


def unit(*checks: Check) -> StageResult:
    """Return a stage with these checks."""
    return merge("unit", checks, started_at=NOON)


def check(kind: CheckKind, duration_s: float = 0.0, name: str = "t.py::test") -> Check:
    """Return a check that ended in this way."""
    return Check(name=name, kind=kind, duration_s=duration_s)


def between(before: Sequence[CheckKind], after: Sequence[CheckKind]) -> RunDifference:
    """Compare two runs of checks that all have the same name."""
    return difference(run(unit(*map(check, before))), run(unit(*map(check, after))))


@pytest.mark.parametrize(
    ("before", "after", "changes", "status"),
    [
        (["passed"], ["passed"], [], 0),
        (["passed"], ["failed"], ["newly failing"], 1),
        ([], ["error"], ["newly failing"], 1),
        (["skipped"], ["timeout"], ["newly failing"], 1),
        (["failed"], ["error"], ["still failing"], 0),
        (["quarantined"], ["failed"], ["still failing"], 0),
        (["failed"], ["flaky"], ["fixed"], 0),
        (["quarantined"], ["passed"], ["fixed"], 0),
        (["failed"], [], ["gone"], 2),
        (["failed"], ["skipped"], ["undecided"], 2),
        (["passed"], ["quarantined"], ["undecided"], 2),
        (["quarantined"], ["quarantined"], [], 0),
        (["skipped"], ["passed"], [], 0),
        ([], ["passed"], ["new"], 0),
        (["passed", "failed"], ["failed", "failed"], ["newly failing", "still failing"], 1),
        (["failed", "passed"], ["passed", "failed"], ["still failing"], 0),
        (["passed", "passed"], ["failed"], ["newly failing", "gone"], 1),
    ],
)
def test_how_a_check_changed(
    before: list[CheckKind], after: list[CheckKind], changes: list[Change], status: int
) -> None:
    """A failure is newly failing, still failing, or mended by a pass; absence and a skip mend nothing."""
    found = between(before, after)

    assert [each.change for each in found.checks] == changes
    assert found.exit_status == status


@pytest.mark.parametrize(
    ("before_s", "after_s", "is_slower"),
    [(10.0, 15.0, True), (10.0, 14.0, False), (0.1, 0.9, False), (0.1, 1.2, True), (15.0, 10.0, False)],
)
def test_slower(before_s: float, after_s: float, is_slower: bool) -> None:
    """Half as long again, and a second at least."""
    found = difference(run(unit(check("passed", before_s))), run(unit(check("passed", after_s))))

    assert [each.change for each in found.checks] == ["slower"] * is_slower


def test_a_stage_that_was_not_asked_for() -> None:
    """Its checks are gone, but it was not tried in vain: the exit status is 0."""
    e2e = merge("e2e", [check("passed")], started_at=NOON)
    found = difference(run(unit(check("passed")), e2e), run(unit(check("passed"))))

    assert [(each.stage, each.change) for each in found.checks] == [("e2e", "gone")]
    assert [(each.name, each.after is None) for each in found.stages] == [("unit", False), ("e2e", True)]
    assert (found.no_longer_judged, found.exit_status) == ([], 0)


def test_what_is_not_comparable_is_said() -> None:
    """Runs of different profiles do different things."""
    assert difference(run(), run(profile="full")).remarks == ["profile differs: quick, then full"]


def test_a_test_that_moved_to_another_shard_is_neither_new_nor_gone() -> None:
    """What it did there counts; of stages that both have it, each has its own."""

    def stages(**kinds: CheckKind) -> Report:
        return run(
            *(merge(f"unit-{name[1:]}", [check(kind)], started_at=NOON) for name, kind in kinds.items())
        )

    moves = [
        (stages(_1="passed"), stages(_2="passed"), []),
        (stages(_1="failed"), stages(_2="failed"), ["still failing"]),
        (run(unit(check("passed"))), stages(_2="failed"), ["newly failing"]),
        (stages(_1="passed"), stages(_1="passed", _2="passed"), ["new"]),
    ]

    assert [[each.change for each in difference(one, two).checks] for one, two, _ in moves] == [
        changes for *_, changes in moves
    ]
