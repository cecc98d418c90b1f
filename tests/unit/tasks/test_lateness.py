"""Which scheduled runs are skipped after days without a worker."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from deployments.catalogue import catalogue
from kvsync.ci.settings import Settings
from tasks.lateness import late_tag, too_late

NOW = datetime(2026, 11, 30, 10, tzinfo=UTC)
NIGHTS = [datetime(2026, 11, day, 3, tzinfo=UTC) for day in range(25, 31)]


def test_of_the_nights_that_were_missed_only_the_last_runs() -> None:
    """The others say when they were due, and why they did not."""
    (nightly,) = [each for each in catalogue(Path("r"), Settings()) if each.name == "nightly"]
    said = [too_late(night, nightly.tags, NOW) for night in NIGHTS]

    assert [text == "" for text in said] == [False, False, False, False, False, True]
    assert said[4] == (
        "skipped: it was due at 2026-11-29 03:00 UTC, 31 hours ago; after 24 hours a newer one is"
    )


def test_what_is_due_at_the_limit_is_late() -> None:
    """At that moment the next one is due."""
    tags = [late_tag(24)]

    assert too_late(NOW - timedelta(hours=24), tags, NOW) != ""
    assert too_late(NOW - timedelta(hours=23, minutes=59), tags, NOW) == ""


def test_without_a_limit_nothing_is_late() -> None:
    """A commit is tested however long it waited."""
    assert too_late(NIGHTS[0], ["kvsync-ci", "trigger:push", "late-after:soon"], NOW) == ""
    assert too_late(None, [late_tag(1)], NOW) == ""
