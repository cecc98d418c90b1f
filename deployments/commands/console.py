"""What all commands share: their surroundings, read here and handed down, and how they print."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from deployments.progress import STYLES
from kvsync.ci.report.report import Report
from kvsync.ci.run.run import Installation
from kvsync.ci.run_folder import RunFolder
from kvsync.errors import ConfigError, KVSyncError
from kvsync.testing.results.layout import laid_out
from kvsync.testing.results.outcome import Outcome, StageResult

console = Console(highlight=False)
"""Without highlighting: it takes a minute for 50 KB without a space (measured), as tests may print."""

environ = os.environ
"""The environment of the command."""

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run, or `last`.")]

ReportDir = Annotated[Path, typer.Option("--report-dir", help="Where the folders of the runs lie.")]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")]

AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown, for issues and chats.")]

Form = Literal["text", "json", "csv", "markdown"]

DEFAULT_REPORTS = Path("reports")

START_ONE = "start one with: kvsync-ci run"


def installation() -> Installation:
    """Return how the pipeline is set up here. Raises ConfigError."""
    return Installation.of(environ)


def make_room_for_reports(report_dir: Path) -> None:
    """Make the folder of the reports if it is not there. Raises ConfigError if it cannot be used."""
    why = ""
    try:
        report_dir.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        why = f"it cannot be made ({exc.strerror})"
    if not why and not os.access(report_dir, os.W_OK | os.X_OK):
        why = "it may not be written to"
    if why:
        raise ConfigError(f"the report folder {report_dir}", [f"{why}; name another with --report-dir"])


def run_folders(report_dir: Path) -> list[RunFolder]:
    """Return the folders of all runs, the oldest first."""
    return [RunFolder(ledger.parent) for ledger in sorted(report_dir.glob("*/ledger.jsonl"))]


def say(text: str) -> None:
    """Print a text as it is, however wide the terminal."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def one_form(*, as_json: bool, as_csv: bool, as_markdown: bool) -> Form:
    """Return the form that is asked for. Raises ConfigError for more than one."""
    asked: dict[Form, bool] = {"json": as_json, "csv": as_csv, "markdown": as_markdown}
    forms = [form for form, is_asked in asked.items() if is_asked]
    if len(forms) > 1:
        raise ConfigError(
            " ".join(f"--{form}" for form in forms), ["one form at a time; run the command once for each"]
        )
    return forms[0] if forms else "text"


def say_json(value: object) -> None:
    """Print JSON."""
    typer.echo(json.dumps(value, indent=1))


def say_report(report: Report | StageResult) -> None:
    """Print a report, or the result of a stage, as JSON, piece by piece: it may have 100,000 checks."""
    sys.stdout.writelines(laid_out(report, 4 if isinstance(report, Report) else 2))
    typer.echo()


def coloured(outcome: Outcome, text: str) -> str:
    """Return a text in the colour of an outcome, as rich markup."""
    return f"[{STYLES[outcome]}]{escape(text)}[/]"


def say_why_not_run(report: Report) -> None:
    """Print why stages could not be carried out, where that takes several lines, such as for their file."""
    for stage in report.stages:
        for check in stage.where(lambda each: each.kind == "not-run" and "\n" in each.detail):
            if check.name == stage.name:
                say(check.detail)


def say_profiles(report: Report) -> None:
    """Print where the pages are that were asked for, or why there are none."""
    for stage in report.stages:
        for remark in stage.remarks:
            if remark.startswith(("profile: ", "no profile: ")):
                say(f"{stage.name}: {remark}")


def say_verdict(report: Report) -> None:
    """Print the last line of a run, in the colour of its verdict."""
    console.print(f"[bold]{coloured(report.verdict, report.verdict_line())}[/]", soft_wrap=True)


def complain(error: KVSyncError) -> None:
    """Say on standard error what went wrong."""
    Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)


def complaining(command: Callable[[], object]) -> None:
    """Run a command line; what went wrong is said in words on standard error, with exit status 2."""
    try:
        command()
    except KVSyncError as exc:
        complain(exc)
        sys.exit(2)
