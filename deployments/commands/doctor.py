"""`kvsync-ci doctor`: can a run start here, and how is what is missing mended?"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from deployments.commands.console import (
    DEFAULT_REPORTS,
    AsJson,
    ReportDir,
    environ,
    installation,
    say,
    say_json,
)
from deployments.commands.surroundings import introduce, repository_meant
from deployments.commands.tables import plain_table, say_table
from kvsync.ci.cluster_settings import ClusterChoice
from kvsync.ci.doctor.findings import Finding, FindingState, is_fit
from kvsync.ci.stages.environment import stage_environment
from kvsync.testing.processes.tools import Tools

FINDING_STYLES = {FindingState.OK: "green", FindingState.MISSING: "red", FindingState.UNAVAILABLE: "yellow"}


def doctor(
    cluster: Annotated[
        str, typer.Option(help="What to look at: local, kind, kubeconfig or kubeconfig:CONTEXT.")
    ] = "kind",
    report_dir: ReportDir = DEFAULT_REPORTS,
    as_json: AsJson = False,
) -> None:
    """Say whether a run with this kind of cluster can start here, and how to mend what is missing.

    The box is tried; the report store and GitHub are asked as well, if they are set up. Nothing is changed or
    pulled. Exit status: 0 when it can start, 2 when something is missing.
    """
    from kvsync.ci.doctor.doctor import examine
    from kvsync.ci.doctor.services import services

    choice, settings = ClusterChoice.parse(cluster), installation().settings
    introduce(repository_meant(None), report_dir)
    seen = stage_environment(environ, trusted=True)
    asked = examine(
        choice, settings.cluster, folder=report_dir, environ=seen, tools=Tools(environ=dict(environ))
    )
    findings = [*asked, *services(settings)]
    if as_json:
        say_json([asdict(finding) for finding in findings])
    else:
        _show(findings)
        fit = is_fit(findings)
        say(f"a run with --cluster {choice} {'can' if fit else 'cannot'} start here")
    raise typer.Exit(0 if is_fit(findings) else 2)


def _show(findings: Sequence[Finding]) -> None:
    table = plain_table("check", "state", "what it means, and how to mend it", whole=["state"])
    for finding in findings:
        state = f"[{FINDING_STYLES[finding.state]}]{finding.state}[/]"
        mend = f"\nmend: {finding.mend}" if finding.mend else ""
        table.add_row(escape(finding.check), state, escape(finding.meaning + mend))
    say_table(table)
