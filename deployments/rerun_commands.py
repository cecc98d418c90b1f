"""`kvsync-ci rerun`, `recheck` and `junit`: try again, judge again, and read what others found."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from deployments.progress import STYLES
from kvsync.testing.outcome import Outcome
from kvsync.testing.report import EXIT_STATUS
from kvsync.testing.run_folder import find_run

Run = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run, or `last`.")]
ReportDir = Annotated[Path, typer.Option("--report-dir", help="Where the folders of the runs lie.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
DEFAULT_REPORTS = Path("reports")

console = Console()


def rerun(
    run: Run,
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
    # Imported here: cli imports this module, and `list` needs none of the rest.
    from deployments.cli import run_once
    from tasks.repetition import prepare

    parameters = prepare(find_run(report_dir, run), stage or (), failed_only=failed)
    raise typer.Exit(run_once(parameters, as_json=as_json).exit_status)


def junit(
    files: Annotated[list[Path], typer.Argument(help="JUnit XML files of any tool, also damaged ones.")],
    stage: Annotated[str, typer.Option(help="The name that the result gets.")] = "junit",
    as_json: AsJson = False,
) -> None:
    """Say what JUnit files of other tools show: tests, attempts, and whether they are whole.

    Exit status: 0 passed, 1 failed, 2 unknown.
    """
    from kvsync.testing.junit_reader import read_junit

    result = read_junit(files, name=stage)
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=1))
    else:
        for check in result.checks:
            if check.kind == "flaky" or check.outcome is not Outcome.PASSED:
                told = escape(": ".join(filter(None, [check.name, check.headline])))
                console.print(f"[{STYLES[check.outcome]}]{check.kind}[/] {told}", soft_wrap=True)
        console.print(f"[{STYLES[result.outcome]}]{escape(result.summary())}[/]", soft_wrap=True)
    raise typer.Exit(EXIT_STATUS[result.outcome])
