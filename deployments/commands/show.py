"""`kvsync-ci list` and `kvsync-ci show`: the runs so far, and what one of them found."""

import sys
from collections.abc import Iterator

import typer
from rich.markup import escape

from deployments.commands.console import (
    DEFAULT_REPORTS,
    START_ONE,
    AsCsv,
    AsJson,
    AsMarkdown,
    Form,
    ReportDir,
    RunId,
    coloured,
    complain,
    console,
    one_form,
    run_folders,
    say,
    say_json,
    say_report,
    say_verdict,
    say_why_not_run,
)
from deployments.commands.tables import plain_table, say_table
from kvsync.ci.report.export import report_csv, report_markdown
from kvsync.ci.report.owners import owners_of
from kvsync.ci.report.plain import cut
from kvsync.ci.report.problems import Problem, doubts, problems
from kvsync.ci.report.report import Report, Subject
from kvsync.ci.run_folder import RunFolder, find_run
from kvsync.errors import ConfigError
from kvsync.testing.results.outcome import Check
from kvsync.testing.results.texts import shortened

SHOWN_NAMES = 5
"""Tests named for one problem; the report has all of them."""

BESIDE_REASON, FEWEST = 56, 24
"""Characters that the other columns of `list` take, and that a reason has at least; `show` has all of it."""


def list_runs(report_dir: ReportDir = DEFAULT_REPORTS, as_json: AsJson = False) -> None:
    """List the runs of a report folder, the newest first; name those that cannot be read."""
    # Mapped, so that one report at a time is in memory: each may have 100,000 checks.
    found = filter(None, map(_read, reversed(run_folders(report_dir))))
    if as_json:
        say_json(list(map(_line, found)))
        return
    whole = ("run", "verdict", "time")
    table = plain_table("run", "of", "verdict", "time", "stages", "reason", whole=whole, right="time")
    for row in map(_row, found):
        table.add_row(*row)
    if table.rows:
        say_table(table)
    else:
        say(f"no run in {report_dir}; {START_ONE}")


def _read(folder: RunFolder) -> Report | None:
    try:
        return Report.read(folder.report) if folder.report.exists() else None
    except ConfigError as exc:
        complain(exc)
        return None


def _row(report: Report) -> tuple[str, ...]:
    """Return what a line of the table says; markup in what is not ours is escaped."""
    by = f" by {report.subject.author}" if report.subject.author else ""
    return (
        report.run,
        escape(shortened(f"{report.subject}{by}")),
        coloured(report.verdict, report.verdict.name.lower()),
        f"{report.duration_s:.0f} s",
        ", ".join(stage.name for stage in report.stages),
        escape(cut(report.reason, max(console.width - BESIDE_REASON, FEWEST))),
    )


def _line(report: Report) -> dict[str, object]:
    return {
        "run": report.run,
        "verdict": report.verdict.name.lower(),
        "reason": report.reason,
        "repository": report.subject.repository,
        "commit": report.commit,
        "branch": report.branch,
        "pull_request": report.subject.pull_request,
        "author": report.subject.author,
        "links": report.subject.links,
        "dirty": report.dirty,
    }


def show(
    run_id: RunId,
    report_dir: ReportDir = DEFAULT_REPORTS,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """Show a run: its stages, what did not pass and why, and the command that repeats it."""
    form = one_form(as_json=as_json, as_csv=as_csv, as_markdown=as_markdown)
    folder = find_run(report_dir, run_id, having="report.json")
    report = Report.read(folder.report)
    if form != "text":
        say_as(form, report)
        return
    say(f"run {report.run} of {report.subject}")
    for line in about(report.subject):
        say(line)
    doubtful = doubts(report)
    for stage in report.stages:
        outcome = coloured(stage.outcome, f"{stage.outcome.name.lower():8}")
        counts = ", ".join(f"{count} {kind}" for kind, count in stage.counts.items()) or "no check"
        console.print(f"{outcome} {stage.name}: {counts} ({stage.duration_s:.0f} s)")
        if stage in doubtful:
            say(f"         {stage.doubt}")  # no check below says it
        for remark in stage.remarks:
            say(f"         {remark}")
    for problem in problems(report):
        _print_problem(problem)
    say_why_not_run(report)
    say(f"report: {folder.page}\nrepeat: {report.command}")
    say_verdict(report)


def about(subject: Subject) -> Iterator[str]:
    """Say whose work it is and where it is on the web, a line each."""
    if subject.branch and subject.pull_request:
        yield f"  branch: {subject.branch}"
    if subject.author:
        yield f"  author: {subject.author}"
    links = subject.links
    if link := links.get("pull_request") or links.get("commit"):
        yield f"  {link}"


def say_as(form: Form, report: Report) -> None:
    """Print a report for programs, a spreadsheet or an issue."""
    match form:
        case "csv":
            sys.stdout.writelines(report_csv(report))
        case "markdown":
            typer.echo(report_markdown(report), nl=False)
        case _:
            say_report(report)


def _owned(check: Check) -> str:
    owners = owners_of(check)
    return f" ({owners})" if owners else ""


def _print_problem(problem: Problem) -> None:
    console.print(f"\n{coloured(problem.outcome, problem.kind)} {escape(problem.headline)}", soft_wrap=True)
    for stage, check in problem.checks[:SHOWN_NAMES]:
        own = f": {check.headline}" if check.headline != problem.headline else ""  # its numbers are others
        say(f"  {stage}: {check.name}{_owned(check)}{own}")
    if len(problem.checks) > SHOWN_NAMES:
        say(f"  and {len(problem.checks) - SHOWN_NAMES} more like it")
