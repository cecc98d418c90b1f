"""`kvsync-ci list` and `kvsync-ci show`: the runs so far, and what one of them found."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from deployments.commands.console import DEFAULT_REPORTS, AsJson, ReportDir, complain, console, verdict
from deployments.progress import STYLES
from kvsync.ci.report.problems import Problem, problems
from kvsync.ci.report.report import Report
from kvsync.ci.run_folder import RunFolder, find_run
from kvsync.errors import ConfigError

SHOWN_NAMES = 5
"""Tests named for one problem; the report has all of them."""


def list_runs(report_dir: ReportDir = DEFAULT_REPORTS, as_json: AsJson = False) -> None:
    """List the runs of a report folder, the newest first; one that cannot be read is named beside them."""
    reports = []
    for folder in folders(report_dir):
        try:
            reports += [Report.read(folder.report)] if folder.report.exists() else []
        except ConfigError as exc:
            complain(exc)
    if as_json:
        rows = [{"run": r.run, "verdict": r.verdict.name.lower(), "reason": r.reason} for r in reports]
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(box=None, header_style="dim")
    for column in ("run", "verdict", "time", "stages", "reason"):
        table.add_column(column, justify="right" if column == "time" else "left")
    for report in reports:
        style = STYLES[report.verdict]
        names = ", ".join(stage.name for stage in report.stages)
        verdict = f"[{style}]{report.verdict.name.lower()}[/]"
        table.add_row(report.run, verdict, f"{report.duration_s:.0f} s", names, escape(report.reason))
    console.print(
        table if reports else f"no run in {report_dir}; start one with: kvsync-ci run", soft_wrap=True
    )


def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The id of a run, or `last`.")],
    report_dir: ReportDir = DEFAULT_REPORTS,
    as_json: AsJson = False,
) -> None:
    """Show a run: its stages, what did not pass and why, and the command that repeats it."""
    folder = find_run(report_dir, run_id, having="report.json")
    report = Report.read(folder.report)
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=1))
        return
    for stage in report.stages:
        style = STYLES[stage.outcome]
        counts = ", ".join(f"{count} {kind}" for kind, count in stage.counts.items())
        console.print(
            f"[{style}]{stage.outcome.name.lower():8}[/] {stage.name}: {counts} ({stage.duration_s:.0f} s)"
        )
    for problem in problems(report):
        _print_problem(problem)
    console.print(f"report: {folder.page}\nrepeat: {report.command}", markup=False, soft_wrap=True)
    console.print(verdict(report), soft_wrap=True)


def folders(report_dir: Path) -> list[RunFolder]:
    """Return the folders of all runs, the newest first."""
    return [RunFolder(ledger.parent) for ledger in sorted(report_dir.glob("*/ledger.jsonl"), reverse=True)]


def _print_problem(problem: Problem) -> None:
    style = STYLES[problem.outcome]
    console.print(f"\n[{style}]{problem.kind}[/] {escape(problem.headline)}", soft_wrap=True)
    for _, check in problem.checks[:SHOWN_NAMES]:
        console.print(f"  {check.name}", markup=False, highlight=False, soft_wrap=True)
    if len(problem.checks) > SHOWN_NAMES:
        console.print(f"  and {len(problem.checks) - SHOWN_NAMES} more like it", highlight=False)
