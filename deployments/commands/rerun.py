"""`kvsync-ci rerun`, `recheck` and `junit`: try again, judge again, and read what others found."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from deployments.commands.console import (
    DEFAULT_REPORTS,
    AsJson,
    ReportDir,
    RunId,
    coloured,
    console,
    say,
    say_json,
    say_report,
    say_verdict,
)
from deployments.commands.ingest import recorded_here
from deployments.commands.run import run_once
from deployments.commands.surroundings import introduce
from kvsync.ci.report.report import EXIT_STATUS, Report
from kvsync.ci.run_folder import find_run
from kvsync.errors import ConfigError
from kvsync.testing.results.outcome import Outcome, worded


def rerun(
    run: RunId,
    failed: Annotated[
        bool,
        typer.Option("--failed", help="Repeat only the tests that did not pass, not their whole stages."),
    ] = False,
    stage: Annotated[
        list[str] | None,
        typer.Option(help="Repeat this stage, even if it passed; may be given several times."),
    ] = None,
    report_dir: ReportDir = DEFAULT_REPORTS,
    as_json: AsJson = False,
) -> None:
    """Repeat the stages of a run that did not pass; the report then has both attempts.

    A test that passes now and failed before with the same commit is flaky. Exit status: as of `run`.
    """
    from kvsync.ci.run.repetition import prepare

    parameters = prepare(find_run(report_dir, run), stage or (), failed_only=failed)
    source = parameters.source
    introduce(None if source else parameters.repository, report_dir, source.url if source else "")
    raise typer.Exit(run_once(parameters, as_json=as_json).exit_status)


def recheck(run: RunId, report_dir: ReportDir = DEFAULT_REPORTS, as_json: AsJson = False) -> None:
    """Judge a run again with today's checkers, by the evidence in its folder: nothing is run.

    Writes report-rechecked.json and .html beside the report. Exit status: as of `run`.
    """
    from kvsync.ci.page.page import write_page
    from kvsync.ci.run.recheck import recheck

    folder = find_run(report_dir, run)
    if not folder.report.exists():
        raise ConfigError(folder.path.name, ["the run has no report; make one with: kvsync-ci rerun"])
    stored = Report.read(folder.report)
    found = recheck(folder, stored)
    found.report.write(folder.path / "report-rechecked.json")
    page = write_page(found.report, folder.path, "report-rechecked.html")
    if as_json:
        say_json(found.to_json())
        raise typer.Exit(found.report.exit_status)
    for change in found.changes:
        say(f"{change.stage}: {change.check}: {change.before} -> {change.after}: {change.why}")
    for goal in found.missed_goals:
        say(f"goal missed: {goal.name}: {goal.metric} {goal.value:g} {goal.unit}, wanted {goal.goal:g}")
    say(found.summary())
    say(f"report: {page}")
    say_verdict(found.report)
    raise typer.Exit(found.report.exit_status)


def junit(
    files: Annotated[
        list[Path],
        typer.Argument(exists=True, dir_okay=False, help="JUnit XML files of any tool, damaged ones too."),
    ],
    stage: Annotated[str, typer.Option(help="The name that the result gets.")] = "junit",
    attempts: Annotated[
        bool,
        typer.Option(
            "--attempts", help="Tests of one name are attempts at one, in this order; else different tests."
        ),
    ] = False,
    is_recorded: Annotated[
        bool,
        typer.Option("--record", help="Also keep it as a run of what is checked out here, as `ingest` does."),
    ] = False,
    report_dir: ReportDir = DEFAULT_REPORTS,
    as_json: AsJson = False,
) -> None:
    """Say what JUnit files of other tools show: tests, attempts, and whether they are whole.

    Exit status: 0 passed, 1 failed, 2 unknown.
    """
    from kvsync.ci.report.junit_reader import read_junit

    result = read_junit(files, name=stage, attempts=attempts)
    if as_json:
        say_report(result)
    else:
        for check in result.where(lambda each: each.kind == "flaky" or each.outcome is not Outcome.PASSED):
            what = escape(": ".join(filter(None, [check.name, check.headline])))
            console.print(f"{coloured(check.outcome, worded(check.kind))} {what}", soft_wrap=True)
        for remark in result.remarks:
            say(f"remark: {remark}")
        console.print(coloured(result.outcome, result.summary()), soft_wrap=True)
    if is_recorded:
        report = recorded_here(files, stage, report_dir, attempts=attempts)
        Console(stderr=True, highlight=False).print(f"recorded as run {report.run}", soft_wrap=True)
        raise typer.Exit(report.exit_status)
    raise typer.Exit(EXIT_STATUS[result.outcome])
