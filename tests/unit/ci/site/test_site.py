"""The pages of all runs: what they say, what they link to, and that nothing in them runs."""

import json
import re
from dataclasses import replace
from datetime import date, timedelta

import pytest

from kvsync.ci.archive.flakiness import Ending
from kvsync.ci.archive.records import PastRun, RunScope
from kvsync.ci.run.quarantine import QuarantineEntry
from kvsync.ci.site.grid import Grid
from kvsync.ci.site.overview import (
    Failing,
    Overview,
    Quarantined,
    failing,
    newest_of_each,
    standing,
    unsteady,
)
from kvsync.ci.site.pages import PageText, Place
from kvsync.ci.site.site import complete
from kvsync.testing.results.outcome import CheckKind, Outcome
from tests.unit.ci import past_runs

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<!--\u2028"

RUN = replace(past_runs.RUN, verdict=Outcome.FAILED, reason="1 of 2 failed")

SCOPE, AT = RUN.scope, RUN.started_at

ENTRY = QuarantineEntry(
    test="tests/t.py::test_a",
    owner="@me",
    reason="slow",
    issue="https://example.com/1",
    added=date(2026, 11, 1),
    expires=date(2026, 11, 10),
)


def runs(count: int) -> list[PastRun]:
    """Return runs, the newest first."""
    hours = [timedelta(hours=number) for number in range(count)]
    return [replace(RUN, run=f"run-{each}", started_at=AT + hours[each]) for each in reversed(range(count))]


def endings(*kinds: CheckKind) -> list[Ending]:
    """Return how a test ended in one run after another."""
    return [
        Ending(run=f"run-{number}", commit=f"c{number}", at=AT + timedelta(hours=number), kind=kind)
        for number, kind in enumerate(kinds)
    ]


def test_nothing_that_people_named_is_markup() -> None:
    """A page full of hostile names has the tags, the scripts and the attributes of one without."""

    def page(name: str) -> str:
        first = Ending(run=name, commit=name, at=AT, kind="failed")
        scope = RunScope(repository=name, profile=name, cluster=name)
        run = replace(RUN, run=name, scope=scope, commit=name, branch=name, reason=name)
        entry = ENTRY.model_copy(update={"test": name, "owner": name, "reason": name, "issue": name})
        overview = Overview(
            newest=[run],
            failing=[Failing(scope=scope, stage=name, name=name, first=first, last=first, runs=1)],
            unsteady=unsteady(scope, {(name, name): endings("failed", "passed", "failed", "passed")}),
            quarantined=[Quarantined(repository=name, entry=entry, standing="holds")],
            problems=[name],
        )
        grid = Grid.of([(run, [(name, name, "failed")])])
        return PageText(grid=grid, overview=overview, linked={name}, runs=1).render()

    hostile = page(HOSTILE)
    assert re.findall(r"<[!/a-z]+", hostile) == re.findall(r"<[!/a-z]+", page("plain"))
    (kept,) = re.findall(r'<script type="application/json" id="grid-data">(.*)</script>', hostile)
    assert json.loads(kept)["rows"] == [[0, 0, HOSTILE, "F"]]


def test_a_page_loads_nothing() -> None:
    """No address of another host is in it, and its policy lets its own script run and no other."""
    page = PageText(grid=Grid.of([]), overview=Overview(), place=Place()).render()

    assert "://" not in page
    assert re.search(r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/=]{44}'", page)


def test_reports_that_are_not_there_are_not_linked() -> None:
    """A run whose folder was removed is shown without a link."""
    overview = Overview(newest=runs(2))
    page = PageText(grid=Grid.of([]), overview=overview, linked={"run-1"}, runs=2).render()

    assert re.findall(r'href="(\.\./[^"]*)"', page) == ["../run-1/report.html"]


def test_what_fails_since_when() -> None:
    """It is the first of the failures that no pass interrupts; what passes again is not listed."""
    past = {
        ("unit", "old"): endings("failed", "failed", "failed"),
        ("unit", "young"): endings("failed", "passed", "failed"),
        ("unit", "mended"): endings("failed", "failed", "passed"),
    }

    assert [(each.name, each.first.commit, each.runs) for each in failing(SCOPE, past)] == [
        ("young", "c2", 1),
        ("old", "c0", 3),
    ]


def test_the_newest_of_each_branch() -> None:
    """Branches come before pull requests, and each scope of a branch has its own verdict."""
    full = replace(SCOPE, profile="full")
    given = [
        replace(RUN, run="4", pull_request=7),
        replace(RUN, run="3"),
        replace(RUN, run="2"),
        replace(RUN, run="1", scope=full),
    ]

    assert [run.run for run in newest_of_each(given)] == ["3", "1", "4"]


@pytest.mark.parametrize(
    ("today", "said"),
    [
        (date(2026, 10, 31), "does not hold yet"),
        (date(2026, 11, 1), "10 d left"),
        (date(2026, 11, 10), "1 d left"),
        (date(2026, 11, 11), "over: the test gates again"),
    ],
)
def test_the_end_of_a_quarantine(today: date, said: str) -> None:
    """Its last day still counts."""
    assert standing(ENTRY, today) == said


def test_complete_pages_never_move() -> None:
    """Pages are counted from the oldest run, so a new run changes none of them."""
    seven, eight = complete(runs(7), 3), complete(runs(8), 3)

    assert [[run.run for run in page] for page in seven] == [
        ["run-2", "run-1", "run-0"],
        ["run-5", "run-4", "run-3"],
    ]
    assert eight == seven
