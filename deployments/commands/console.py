"""What all commands share: where the runs lie, how they print, how they say what went wrong."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from deployments.progress import STYLES
from kvsync.ci.report.report import Report
from kvsync.errors import KVSyncError

console = Console()

ReportDir = Annotated[Path, typer.Option("--report-dir", help="Where the folders of the runs lie.")]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

DEFAULT_REPORTS = Path("reports")


def verdict(report: Report) -> str:
    """Return the last line of a run in the colour of its verdict, as rich markup."""
    style = STYLES[report.verdict]
    return f"[bold {style}]{escape(report.verdict_line())}[/]"


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
