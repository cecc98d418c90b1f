"""The pages of all runs as text: each opens offline, and runs no script but its own. All text is escaped."""

import hashlib
from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from jinja2 import Template
from markupsafe import Markup

from kvsync.ci.archive.records import PastRun
from kvsync.ci.page.templates import Filters, templates
from kvsync.ci.page.wording import duration, quantity
from kvsync.ci.site.grid import FAILING, LETTERS, Grid, cut
from kvsync.ci.site.overview import MOST_ROWS, MOST_VERDICTS, Overview
from kvsync.ci.site.trend import Trend
from kvsync.testing.results.outcome import NEUTRAL, OUTCOMES, CheckKind, Outcome, worded

INDEX = "index.html"

SYMBOLS = {Outcome.PASSED: "✓", Outcome.UNKNOWN: "?", Outcome.FAILED: "✗"}

WIDTH, HEIGHT = 240, 34
"""Of the line of a trend, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page stands among the others: 0 is the first page, and page 1 has the oldest runs.

    `older` are the pages with earlier runs that it links to, `mark` says from what it was made.
    """

    number: int = 0
    newer: str = ""
    older: Sequence[tuple[str, str]] = ()
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageText:
    """What a page shows. `linked`: the runs whose report there is to link to."""

    grid: Grid
    overview: Overview | None = None
    place: Place = field(default_factory=Place)
    linked: Collection[str] = frozenset()
    runs: int = 0

    def render(self) -> str:
        """Return the page."""
        script = _read("grid.js")
        digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
        return site_template().render(
            grid=self.grid,
            overview=self.overview,
            place=self.place,
            linked=self.linked,
            runs=self.runs,
            most=MOST_ROWS,
            most_verdicts=MOST_VERDICTS,
            columns=grid_json(self.grid, self.linked),
            kinds={worded(kind): (letter, tone(kind)) for kind, letter in LETTERS.items()},
            tone=tone,
            line=line,
            symbols=SYMBOLS,
            script=Markup(script),  # noqa: S704 - our own file
            script_digest=digest,
        )


def grid_json(grid: Grid, linked: Collection[str]) -> dict[str, object]:
    """Return the grid as the script of the page reads it; names of repositories and stages stand once."""
    repositories = sorted({row.repository for row in grid.rows})
    stages = sorted({row.stage for row in grid.rows})
    scopes = sorted({_scope(run) for run in grid.runs})
    return {
        "kinds": {letter: [worded(kind), tone(kind)] for kind, letter in LETTERS.items()},
        "failing": "".join(sorted(FAILING)),
        "repositories": repositories,
        "stages": stages,
        "scopes": scopes,
        "runs": [
            {
                "run": run.run,
                "at": f"{run.started_at:%Y-%m-%d %H:%M}",
                "commit": run.commit[:7] + ("*" if run.dirty else ""),
                "of": of(run),
                "verdict": run.verdict.name.lower(),
                "reason": cut(run.reason),
                "scope": scopes.index(_scope(run)),
                "link": link(run.run) if run.run in linked else "",
            }
            for run in grid.runs
        ],
        "rows": [
            [repositories.index(row.repository), stages.index(row.stage), cut(row.name), row.cells]
            for row in grid.rows
        ],
    }


def version() -> str:
    """Return what changes whenever pages would look another way."""
    return hashlib.sha256((_read("grid.js") + _read("site.html")).encode()).hexdigest()


def tone(kind: CheckKind) -> str:
    """Return the colour of a kind: quarantined, flaky and skipped have one of their own."""
    if kind in ("flaky", "quarantined"):
        return kind
    return "neutral" if kind in NEUTRAL else OUTCOMES[kind].name.lower()


def link(run: str) -> str:
    """Return where the report of a run lies, from a page of the site."""
    return f"../{quote(run, safe='')}/report.html"


def of(run: PastRun) -> str:
    """Say which line of work a run tested."""
    return f"#{run.pull_request}" if run.pull_request else run.branch


def line(trend: Trend) -> Mapping[str, object]:
    """Return the line of a trend for an SVG, and where it changed: x, and what is said of it."""
    values = trend.values
    low, high = min(values), max(values)
    step, scale = WIDTH / (len(values) - 1), (HEIGHT - 6) / ((high - low) or 1)
    places = [(at * step, HEIGHT - 3 - (value - low) * scale) for at, value in enumerate(values)]
    return {
        "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in places),
        "shifts": [(f"{(shift.at - 0.5) * step:.1f}", trend.said(shift)) for shift in trend.shifts],
    }


def _scope(run: PastRun) -> str:
    return f"{run.scope.repository}, {run.scope.profile}, {run.scope.cluster}"


@cache
def site_template() -> Template:
    """Return the template of all pages."""
    filters: Filters = {"cut": cut, "duration": duration, "link": link, "of": of, "quantity": quantity}
    return templates(Path(__file__).parent, filters).get_template("site.html")


def _read(name: str) -> str:
    return files("kvsync.ci.site").joinpath(name).read_text(encoding="utf-8")
