"""Who has to hear of what."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kvsync.ci.archive.comparison import RunComparison
from kvsync.ci.archive.records import PastRun
from kvsync.ci.notify.people import Message, about_run, about_silence
from kvsync.ci.report.report import Report
from kvsync.testing.results.outcome import Check, CheckKind, Outcome, merge
from tests.unit.ci.past_runs import RUN

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

BEFORE = replace(RUN, started_at=NOON - timedelta(hours=1), trigger="push")


def report(kind: CheckKind, trigger: str = "push", branch: str = "main") -> Report:
    """Return the report of a run of one check."""
    return Report(
        run="run-1",
        started_at=NOON,
        duration_s=1.0,
        command="kvsync-ci run unit",
        stages=[merge("unit", [Check(name="t", kind=kind, detail="E   no")], started_at=NOON)],
        parameters={"trigger": trigger, "source": None},
        branch=branch,
        versions={},
        machine={},
    )


@pytest.mark.parametrize(
    ("kind", "trigger", "before", "told"),
    [
        ("passed", "push", Outcome.FAILED, False),
        ("failed", "push", Outcome.PASSED, True),
        ("failed", "push", Outcome.UNKNOWN, True),
        ("failed", "push", Outcome.FAILED, False),
        ("void", "push", Outcome.PASSED, True),
        ("void", "push", Outcome.FAILED, False),
        ("failed", "schedule", Outcome.FAILED, True),
        ("void", "schedule", Outcome.FAILED, True),
        ("passed", "schedule", Outcome.FAILED, False),
    ],
)
def test_what_got_worse_is_told_and_every_bad_night(
    kind: CheckKind, trigger: str, before: Outcome, told: bool
) -> None:
    """Against the run before it of the same trigger and branch."""
    earlier = [replace(BEFORE, trigger=trigger, verdict=before)]

    assert (about_run(report(kind, trigger), earlier, None, "") is not None) is told


@pytest.mark.parametrize(
    "other",
    [
        replace(BEFORE, branch="topic", verdict=Outcome.FAILED),
        replace(BEFORE, trigger="manual", verdict=Outcome.FAILED),
        replace(BEFORE, pull_request=7, verdict=Outcome.FAILED),
        replace(BEFORE, started_at=NOON, verdict=Outcome.FAILED),
    ],
    ids=["branch", "trigger", "pull request", "the run itself"],
)
def test_other_runs_say_nothing(other: PastRun) -> None:
    """The last one alike decides; without any, what does not pass is told."""
    assert about_run(report("failed"), [other, BEFORE], None, "") is not None
    assert about_run(report("failed"), [other, replace(BEFORE, verdict=Outcome.FAILED)], None, "") is None
    assert about_run(report("failed"), [other], None, "") is not None


def test_a_message_has_all_there_is_to_know() -> None:
    """Verdict, reason, what changed, link and command; the title is one short line."""
    found = about_run(report("failed", branch="a\nb" * 200), [], RunComparison(), "https://s3/report.html")

    assert found is not None
    assert found.title.startswith("kvsync-ci: FAILED: push run of (a ba b")
    assert len(found.title) == 120
    assert found.body.splitlines() == [
        "unit: 1 of 1 failed: t: no",
        "nothing to compare with yet",
        "https://s3/report.html",
        "kvsync-ci run unit",
    ]


@pytest.mark.parametrize(
    ("hours", "told"), [(None, False), (29.9, False), (30.0, False), (30.1, True)], ids=str
)
def test_a_silent_schedule(hours: float | None, told: bool) -> None:
    """Silence is told after its time, and not before anything was ever scheduled."""
    last = None if hours is None else NOON - timedelta(hours=hours)

    assert (about_silence(last, NOON, stale_after_hours=30.0) is not None) is told


def test_what_is_said_of_silence() -> None:
    """Since when, and where to look."""
    assert about_silence(NOON - timedelta(hours=49), NOON, stale_after_hours=30.0) == Message(
        "kvsync-ci: no scheduled run for 49 hours",
        "The last one started at 2026-11-18 11:00 UTC; at most 30 hours are right. "
        "Is kvsync-ci serve running, and is the schedule active?",
    )
