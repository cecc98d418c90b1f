"""What the first page says before its grid: the newest verdicts, what fails and since when, what is flaky."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from kvsync.ci.archive.comparison import CheckId
from kvsync.ci.archive.flakiness import Ending, Flakiness, failing_streak, flakiness
from kvsync.ci.archive.records import PastRun, RunScope
from kvsync.ci.run.quarantine import QuarantineEntry
from kvsync.ci.site.trend import Trend

MOST_ROWS = 100
"""Rows of one table; the page says how many more there are."""

MOST_VERDICTS = 20
"""As above, of the first table, which should leave the next one in sight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """A check that fails on the reference branch, and its first and last failure since it last passed."""

    scope: RunScope
    stage: str
    name: str
    first: Ending
    last: Ending
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsteady:
    """A check that is flaky or broken."""

    scope: RunScope
    stage: str
    name: str
    flakiness: Flakiness


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """An entry of a repository's quarantine, and what it does today."""

    repository: str
    entry: QuarantineEntry
    standing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything on the first page but its grid. `problems` says which quarantines cannot be read."""

    newest: Sequence[PastRun] = ()
    failing: Sequence[Failing] = ()
    unsteady: Sequence[Unsteady] = ()
    quarantined: Sequence[Quarantined] = ()
    trends: Sequence[Trend] = ()
    problems: Sequence[str] = field(default_factory=tuple)


def newest_of_each(runs: Sequence[PastRun]) -> list[PastRun]:
    """Return of runs, the newest first, the newest of each scope and branch, then those of pull requests."""
    found: dict[tuple[RunScope, str, int | None], PastRun] = {}
    for run in runs:
        found.setdefault((run.scope, run.branch, run.pull_request), run)
    return sorted(found.values(), key=lambda run: run.pull_request is not None)


def failing(scope: RunScope, past: Mapping[CheckId, Sequence[Ending]]) -> list[Failing]:
    """Return what fails in a scope, what began to fail last first."""
    found = [
        Failing(scope=scope, stage=stage, name=name, first=streak[0], last=streak[-1], runs=len(streak))
        for (stage, name), endings in past.items()
        if (streak := failing_streak(endings))
    ]
    return sorted(found, key=lambda each: (-each.first.at.timestamp(), each.stage, each.name))


def unsteady(scope: RunScope, past: Mapping[CheckId, Sequence[Ending]]) -> list[Unsteady]:
    """Return what is flaky or broken in a scope, what changed sides most often first."""
    found = [
        Unsteady(scope=scope, stage=stage, name=name, flakiness=known)
        for (stage, name), endings in past.items()
        if (known := flakiness(endings)).verdict != "steady"
    ]
    return sorted(found, key=lambda each: (-each.flakiness.flips, each.stage, each.name))


def standing(entry: QuarantineEntry, today: date) -> str:
    """Say what an entry of the quarantine does today."""
    if entry.is_over(today):
        return "over: the test gates again"
    return f"{(entry.expires - today).days + 1} d left" if entry.holds(today) else "does not hold yet"
