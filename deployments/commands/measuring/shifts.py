"""`kvsync-ci shifts`: where what runs measured moved to another level, and between which commits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from deployments.commands.console import (
    DEFAULT_REPORTS,
    AsJson,
    ReportDir,
    installation,
    say,
    say_json,
)
from deployments.commands.tables import plain_table, say_table
from kvsync.ci.archive.shifts import LEAST, Shift

if TYPE_CHECKING:
    from kvsync.ci.site.trend import Trend


def shifts(
    measure: Annotated[str, typer.Option(metavar="NAME", help="Only what has this in its name.")] = "",
    limit: Annotated[int, typer.Option(min=2 * LEAST, max=1000, help="How many runs to go back.")] = 100,
    report_dir: ReportDir = DEFAULT_REPORTS,
    as_json: AsJson = False,
) -> None:
    """Show which measures and stages of the reference branch got slower or faster, the newest shift first."""
    from kvsync.ci.archive.archive import existing_archive
    from kvsync.ci.site.trend import trends

    found: list[tuple[Trend, Shift]] = []
    with existing_archive(installation().settings, report_dir) as archive:
        for scope in archive.scopes():
            runs = archive.series(scope=scope, reference=True, limit=limit, counted=False)
            measured = archive.measurements([run.run for run in runs])
            every = [each for each in trends(runs, measured, most=limit) if measure in each.name]
            found += [(each, shift) for each in every for shift in each.shifts]
    found.sort(key=lambda each: each[0].points[each[1].at][0], reverse=True)
    if as_json:
        say_json([_line(trend, shift) for trend, shift in found])
    elif found:
        _say(found)
    else:
        say(f"no measure of the reference branch moved to another level in {limit} runs")


def _line(trend: "Trend", shift: Shift) -> dict[str, object]:
    return {
        "measure": trend.name,
        "unit": trend.unit,
        "repository": trend.scope.repository,
        "profile": trend.scope.profile,
        "cluster": trend.scope.cluster,
        "at": trend.points[shift.at][0].isoformat(),
        "commits": trend.between(shift),
        "before": shift.before,
        "after": shift.after,
        "p": shift.p,
        "since": len(trend.points) - shift.at,
    }


def _say(found: Sequence[tuple["Trend", Shift]]) -> None:
    whole = ("before", "after", "change", "commits")
    table = plain_table("of", *whole, "in", whole=whole)
    for trend, shift in found:
        table.add_row(
            escape(trend.name),
            f"{shift.before:.4g} {trend.unit}",
            f"{shift.after:.4g} {trend.unit}",
            f"{shift.change:+.1%}",
            trend.between(shift),
            escape(f"{trend.scope.repository}, {trend.scope.profile}, {trend.scope.cluster}"),
        )
    say_table(table)
