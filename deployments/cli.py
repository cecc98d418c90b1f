"""`kvsync-ci`: see what a run needs, run the pipeline, look at its runs, clean up after them."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments.archive_commands import flaky, history
from deployments.progress import STYLES
from deployments.rerun_commands import junit, recheck, rerun
from deployments.serve_commands import deploy, serve
from deployments.staleness import stale
from deployments.store_commands import prune, upload
from kvsync.ci.cleaning.marks import on_this_machine
from kvsync.ci.cleaning.residue import clear, find, is_running
from kvsync.ci.cluster_settings import ClusterChoice
from kvsync.ci.doctor.findings import Finding, State, is_fit, require
from kvsync.ci.report.problems import Problem, problems
from kvsync.ci.report.report import Report
from kvsync.ci.run_folder import RunFolder, find_run
from kvsync.ci.settings import load_settings
from kvsync.ci.stages.environment import stage_environment
from kvsync.errors import ConfigError, KVSyncError
from kvsync.testing.processes.ledger import Ledger

if TYPE_CHECKING:
    from kvsync.ci.run.parameters import Parameters

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()

ReportDir = Annotated[Path, typer.Option("--report-dir", help="Where the folders of the runs lie.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
DEFAULT_REPORTS = Path("reports")

FINDING_STYLES = {State.OK: "green", State.MISSING: "red", State.UNAVAILABLE: "yellow"}

SHOWN_NAMES = 5
"""Tests named for one problem; the report has all of them."""


@app.command()
def run(
    stages: Annotated[
        list[str] | None,
        typer.Argument(
            help="unit, integration, property, e2e, benchmark, load, chaos, soak; all if none is named."
        ),
    ] = None,
    profile: Annotated[
        Literal["quick", "full"], typer.Option(help="quick takes minutes; full has real durations and sizes.")
    ] = "quick",
    cluster: Annotated[
        str,
        typer.Option(help="Where engines and gateway run: local, kind, kubeconfig or kubeconfig:CONTEXT."),
    ] = "local",
    reuse: Annotated[
        str, typer.Option(metavar="NAME", help="With kind: use and leave the cluster of this name.")
    ] = "",
    node_image: Annotated[
        list[str] | None,
        typer.Option(metavar="IMAGE", help="With kind: the nodes' image; several make one run for each."),
    ] = None,
    report_dir: ReportDir = DEFAULT_REPORTS,
    seed: Annotated[int, typer.Option(help="Decides everything that is drawn by chance.")] = 0,
    trace: Annotated[
        Path | None, typer.Option(help="A Mooncake-format request trace (JSON lines) to replay in e2e.")
    ] = None,
    repository: Annotated[Path | None, typer.Option(help="The folder whose tests/ are run.")] = None,
    source: Annotated[
        str,
        typer.Option(metavar="URL@COMMIT", help="Test this commit, fetched for the run, not the files here."),
    ] = "",
    untrusted: Annotated[
        bool, typer.Option("--untrusted", help="The commit is a fork's: it gets no secret and no cluster.")
    ] = False,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Leave the cluster of a failed test alive until `kvsync-ci clean`."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the pipeline. Exit status: 0 passed, 1 failed, 2 unknown (something could not be judged)."""
    # Imported here, since `list` or `show` need none of it.
    from kvsync.ci.run.parameters import REPOSITORY, Parameters, matrix, new_run_id

    url, _, commit = source.rpartition("@")
    fetched = {"url": url, "commit": commit, "trusted": not untrusted}
    given = {"stages": stages, "repository": repository, "source": fetched if source or untrusted else None}
    parameters = Parameters.checked(
        profile=profile,
        cluster=cluster,
        reuse=reuse,
        settings=load_settings(repository or REPOSITORY, os.environ).cluster,
        report_dir=report_dir,
        seed=seed,
        trace=trace,
        keep=keep,
        run=new_run_id(),
        **{name: value for name, value in given.items() if value},
    )
    reports = [run_once(each, as_json=as_json) for each in matrix(parameters, node_image or ())]
    raise typer.Exit(max(reports, key=lambda report: report.verdict).exit_status)


def run_once(parameters: "Parameters", *, as_json: bool) -> Report:
    """Run once, showing how it goes and the verdict; CannotRun when the machine lacks something."""
    from deployments.launch import launch
    from kvsync.ci.doctor.doctor import examine
    from kvsync.ci.run.parameters import settings_here

    if parameters.needs_cluster:
        findings = examine(
            ClusterChoice.parse(parameters.cluster),
            settings_here(parameters, os.environ),
            folder=parameters.report_dir,
            name=f"kvsync-{parameters.run}",
            reuse=parameters.reuse,
            environ=stage_environment(os.environ, trusted=True),
        )
        require(findings, parameters.cluster)
    progress = Console(stderr=True) if as_json else console
    attempt = f", attempt {parameters.repeat.attempt}" if parameters.repeat else ""
    progress.print(
        f"run {parameters.run}{attempt}: {', '.join(parameters.due)} "
        f"({parameters.profile}, {parameters.cluster})"
    )
    report = launch(parameters, progress)
    progress.print(f"report: {RunFolder(parameters.run_dir).page}", soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=1))
    else:
        console.print(_verdict(report), soft_wrap=True)
    return report


@app.command("list")
def list_runs(report_dir: ReportDir = DEFAULT_REPORTS, as_json: AsJson = False) -> None:
    """List the runs of a report folder, the newest first; one that cannot be read is named beside them."""
    reports = []
    for folder in _folders(report_dir):
        try:
            reports += [Report.read(folder.report)] if folder.report.exists() else []
        except ConfigError as exc:
            _complain(exc)
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


@app.command()
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
    console.print(_verdict(report), soft_wrap=True)


@app.command()
def clean(
    report_dir: ReportDir = DEFAULT_REPORTS,
    check: Annotated[bool, typer.Option("--check", help="Only look; exit 1 when something is left.")] = False,
) -> None:
    """End and remove what runs left behind, even those that were killed; reports stay.

    A run that is still going on is left alone.
    """
    left, failed = 0, 0
    marked = on_this_machine()
    for folder in _folders(report_dir):
        if is_running(folder.ledger):
            console.print(f"{folder.path.name}: still running, left alone", markup=False)
            continue
        residue = find(folder.ledger, marked=marked)
        fates = dict.fromkeys(residue.describe(), "") if check else clear(residue, Ledger(folder.ledger))
        for line, failure in fates.items():
            why = f": not removed: {failure}" if failure else ""
            console.print(f"{folder.path.name}: {line}{why}", markup=False, soft_wrap=True)
        left += len(fates)
        failed += sum(map(bool, fates.values()))
    if not left:
        console.print("nothing is left behind")
    elif check:
        console.print(f"{left} left behind")
    else:
        console.print(f"{left - failed} removed" + (f", {failed} not" if failed else ""))
    raise typer.Exit(1 if failed or (check and left) else 0)


@app.command()
def doctor(
    cluster: Annotated[
        str, typer.Option(help="What to look at: local, kind, kubeconfig or kubeconfig:CONTEXT.")
    ] = "kind",
    report_dir: ReportDir = DEFAULT_REPORTS,
    as_json: AsJson = False,
) -> None:
    """Say whether a run with this kind of cluster can start here, and how to mend what is missing.

    The report store and GitHub are asked, too, where they are set up. Nothing is changed or pulled. Exit
    status: 0 when it can start, 2 when something is missing.
    """
    # Imported here, since `list` or `show` need none of it.
    from kvsync.ci.doctor.doctor import examine
    from kvsync.ci.doctor.services import services
    from kvsync.ci.run.parameters import REPOSITORY

    choice, settings = ClusterChoice.parse(cluster), load_settings(REPOSITORY, os.environ)
    seen = stage_environment(os.environ, trusted=True)
    findings = [*examine(choice, settings.cluster, folder=report_dir, environ=seen), *services(settings)]
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        console.print(_findings(findings))
        fit = is_fit(findings)
        console.print(f"a run with --cluster {choice} {'can' if fit else 'cannot'} start here", markup=False)
    raise typer.Exit(0 if is_fit(findings) else 2)


app.command("history")(history)
app.command("flaky")(flaky)
app.command("rerun")(rerun)
app.command("recheck")(recheck)
app.command("junit")(junit)
app.command("deploy")(deploy)
app.command("serve")(serve)
app.command("upload")(upload)
app.command("prune")(prune)
app.command("stale")(stale)


def _folders(report_dir: Path) -> list[RunFolder]:
    return [RunFolder(ledger.parent) for ledger in sorted(report_dir.glob("*/ledger.jsonl"), reverse=True)]


def _findings(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, header_style="dim")
    table.add_column("check", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("what it means, and how to mend it", overflow="fold")
    for finding in findings:
        state = f"[{FINDING_STYLES[finding.state]}]{finding.state}[/]"
        mend = f"\nmend: {finding.mend}" if finding.mend else ""
        table.add_row(escape(finding.check), state, escape(finding.meaning + mend))
    return table


def _print_problem(problem: Problem) -> None:
    style = STYLES[problem.outcome]
    console.print(f"\n[{style}]{problem.kind}[/] {escape(problem.headline)}", soft_wrap=True)
    for _, check in problem.checks[:SHOWN_NAMES]:
        console.print(f"  {check.name}", markup=False, highlight=False, soft_wrap=True)
    if len(problem.checks) > SHOWN_NAMES:
        console.print(f"  and {len(problem.checks) - SHOWN_NAMES} more like it", highlight=False)


def _verdict(report: Report) -> str:
    style = STYLES[report.verdict]
    return f"[bold {style}]{escape(report.verdict_line())}[/]"


def _complain(error: KVSyncError) -> None:
    Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)


def main(command: Callable[[], object] = app) -> None:
    """Run a command line; what went wrong is said in words on standard error, with exit status 2."""
    try:
        command()
    except KVSyncError as exc:
        _complain(exc)
        sys.exit(2)


if __name__ == "__main__":
    main()
