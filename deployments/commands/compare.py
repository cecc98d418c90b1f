"""`kvsync-ci compare`: what is different in the second of two runs."""

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from deployments.commands.console import (
    DEFAULT_REPORTS,
    AsCsv,
    AsJson,
    AsMarkdown,
    ReportDir,
    one_form,
    say,
    say_json,
)
from kvsync.ci.report.difference import CHANGES, CheckChange, RunDifference, StageChange, difference
from kvsync.ci.report.plain import Cell, code_span, csv_lines, cut, markdown_table, one_line
from kvsync.ci.report.report import Report
from kvsync.ci.run_folder import find_run
from kvsync.testing.results.outcome import StageResult, worded

SHOWN_NAMES = 10
"""Checks named for one change; the other forms have all of them."""

COLUMNS = 80

HEADER = ("stage", "check", "change", "before", "after", "before_s", "after_s", "owners", "headline")


def compare(
    before: Annotated[str, typer.Argument(metavar="A", help="The id of the earlier run.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The id of the later run, or `last`.")] = "last",
    report_dir: ReportDir = DEFAULT_REPORTS,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """Compare run B with run A: what newly fails, is fixed, new, gone or slower.

    The exit status is 1 if something newly fails; else 2 if a stage that A judged came to no result in B, or
    if a run cannot be read; else 0.
    """
    form = one_form(as_json=as_json, as_csv=as_csv, as_markdown=as_markdown)
    one, other = (
        Report.read(find_run(report_dir, run, having="report.json").report) for run in (before, after)
    )
    found = difference(one, other)
    match form:
        case "json":
            say_json({**found.to_json(), "exit_status": found.exit_status})
        case "csv":
            sys.stdout.writelines(csv_lines(HEADER, map(_row, found.checks)))
        case "markdown":
            typer.echo("\n".join(markdown(found)))
        case "text":
            say("\n".join(text(found)))
    raise typer.Exit(found.exit_status)


def text(found: RunDifference) -> Iterator[str]:
    """Say what is different, in lines of 80 columns; only names of checks and runs may be longer."""
    yield f"A {_of(found.before)}"
    yield f"B {_of(found.after)}"
    yield from (cut(one_line(f"not quite comparable: {remark}"), COLUMNS) for remark in found.remarks)
    yield from (cut(f"{each.name}: {_stage(each)}", COLUMNS) for each in found.stages)
    for change in CHANGES:
        changed = found.of(change)
        if changed:
            yield f"\n{len(changed)} {change}"
            yield from (line for each in changed[:SHOWN_NAMES] for line in _lines(each))
        if len(changed) > SHOWN_NAMES:
            yield f"  and {len(changed) - SHOWN_NAMES} more: --csv and --json have all"
    yield f"\n{found.summary}"


def markdown(found: RunDifference) -> Iterator[str]:
    """Say what is different as a page of GitHub's Markdown."""
    yield f"### {found.summary}\n"
    yield f"{code_span(found.before.run)} and {code_span(found.after.run)}\n"
    yield from (f"Not quite comparable: {code_span(remark)}\n" for remark in found.remarks)
    yield markdown_table(("stage", "difference"), [(each.name, _stage(each)) for each in found.stages])
    if found.checks:
        yield markdown_table(HEADER, map(_row, found.checks))


def _of(report: Report) -> str:
    commit = f"{report.commit[:10] or 'no commit'}{'*' if report.differs else ''}"
    return f"{report.run} {report.verdict.name} {cut(one_line(f'{commit} {report.branch}'), 30)}"


def _stage(change: StageChange) -> str:
    before, after = (_outcome(stage) for stage in (change.before, change.after))
    said = before if before == after else f"{before} -> {after}"
    if not change.before or not change.after:
        return said
    return f"{said}, {_times(change.before.duration_s, change.after.duration_s)}"


def _outcome(stage: StageResult | None) -> str:
    return stage.outcome.name.lower() if stage else "not run"


def _lines(change: CheckChange) -> Iterator[str]:
    yield f"  {one_line(change.check)}{f' ({change.owners})' if change.owners else ''}"
    before, after = (worded(check.kind) if check else "absent" for check in (change.before, change.after))
    if change.change == "slower" and change.before and change.after:
        yield f"    {_times(change.before.duration_s, change.after.duration_s)}"
    elif change.change in ("newly failing", "undecided", "gone"):
        yield cut(f"    {before} -> {after}: {one_line(change.headline)}".removesuffix(": "), COLUMNS)


def _times(before_s: float, after_s: float) -> str:
    said = f"{before_s:.1f} s -> {after_s:.1f} s"
    return f"{said} ({after_s / before_s - 1:+.0%})" if before_s > 0 else said


def _row(change: CheckChange) -> tuple[Cell, ...]:
    row = change.to_json()
    return tuple(value if isinstance(value := row[name], str | int | float) else None for name in HEADER)
