"""`kvsync-ci doctor`: can a run start here, and how is what is missing mended?"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from deployments.commands.console import DEFAULT_REPORTS, AsJson, ReportDir, console
from kvsync.ci.cluster_settings import ClusterChoice
from kvsync.ci.doctor.findings import Finding, FindingState, is_fit
from kvsync.ci.settings import load_settings
from kvsync.ci.stages.environment import stage_environment

FINDING_STYLES = {FindingState.OK: "green", FindingState.MISSING: "red", FindingState.UNAVAILABLE: "yellow"}


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
