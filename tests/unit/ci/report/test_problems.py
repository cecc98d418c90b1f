"""What did not pass in a run."""

import cProfile
import pstats
from datetime import UTC, datetime

from kvsync.ci.report.problems import doubts
from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import Check, merge

NOW = datetime(2026, 11, 9, tzinfo=UTC)


def cut_off(count: int) -> Report:
    """Return a report of a stage that ended before most of its tests."""
    checks = [Check(name="t.py::test_a", kind="passed")]
    checks += [
        Check(name=f"t.py::test_{each}", kind="not-run", detail=f"not run: {each}") for each in range(count)
    ]
    return Report(
        run="a",
        started_at=NOW,
        duration_s=1.0,
        command="",
        stages=[merge("unit", checks, started_at=NOW).doubted("the stage reached its time limit")],
        parameters={},
        versions={},
        machine={},
    )


def calls(report: Report) -> int:
    """Return how many calls it takes to find the stages in doubt."""
    with cProfile.Profile() as profile:
        doubts(report)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]  # typeshed does not know it


def test_doubts_are_found_in_time() -> None:
    """Ten times as many tests that were not run take ten times as long, not a hundred times."""
    assert calls(cut_off(2000)) < 20 * calls(cut_off(200))
