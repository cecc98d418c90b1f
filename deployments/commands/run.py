"""`kvsync-ci run`: run the pipeline."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, cast

import typer
from rich.console import Console

from deployments.commands.console import (
    DEFAULT_REPORTS,
    AsJson,
    ReportDir,
    console,
    environ,
    installation,
    make_room_for_reports,
    say_profiles,
    say_report,
    say_verdict,
    say_why_not_run,
)
from deployments.commands.surroundings import introduce, repository_meant
from kvsync.ci.cluster_settings import ClusterChoice
from kvsync.ci.doctor.findings import require
from kvsync.ci.project.choice import stages_of
from kvsync.ci.project.model import FILE
from kvsync.ci.project.reading import read_project
from kvsync.ci.report.report import Report, Subject
from kvsync.ci.revision import revision
from kvsync.ci.run.parameters import Parameters, matrix, new_run_id
from kvsync.ci.run.run import Run
from kvsync.ci.stages.environment import stage_environment
from kvsync.ci.stages.stage import LOCAL
from kvsync.errors import ConfigError, UnknownName
from kvsync.testing.processes.tools import Tools

Reuse = Annotated[
    str, typer.Option(metavar="NAME", help="With kind: use and leave the cluster of this name.")
]

NodeImages = Annotated[
    list[str] | None,
    typer.Option(metavar="IMAGE", help="With kind: the nodes' image; several make one run for each."),
]

Profilers = Annotated[
    list[str] | None,
    typer.Option(
        "--profiler",
        metavar="STAGE=time|memory",
        help="Keep a page about where the time or the memory of a stage's program went (Python only; needs"
        " pyinstrument or memray there); several times for several stages.",
    ),
]

Untrusted = Annotated[
    bool, typer.Option("--untrusted", help="The commit is a fork's: no secret, no cluster, and a box.")
]


def run(
    stages: Annotated[
        list[str] | None,
        typer.Argument(
            help="Stages by their names in the repository's stages.toml (see `kvsync-ci plan`); those that"
            " are part of a run by hand if none is named."
        ),
    ] = None,
    profile: Annotated[
        Literal["quick", "full"], typer.Option(help="quick takes minutes; full has real durations and sizes.")
    ] = "quick",
    cluster: Annotated[
        str,
        typer.Option(help="Where engines and gateway run: local, kind, kubeconfig or kubeconfig:CONTEXT."),
    ] = "local",
    reuse: Reuse = "",
    node_image: NodeImages = None,
    report_dir: ReportDir = DEFAULT_REPORTS,
    seed: Annotated[int, typer.Option(help="Decides everything that is drawn by chance.")] = 0,
    trace: Annotated[
        Path | None, typer.Option(help="A Mooncake-format request trace (JSON lines) to replay in e2e.")
    ] = None,
    repository: Annotated[
        Path | None, typer.Option(help="The repository to test; else the one that you are in.")
    ] = None,
    source: Annotated[
        str,
        typer.Option(metavar="URL@COMMIT", help="Test this commit, fetched for the run, not the files here."),
    ] = "",
    untrusted: Untrusted = False,
    profiler: Profilers = None,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Leave the cluster of a failed test alive until `kvsync-ci clean`."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the pipeline. Exit status: 0 passed, 1 failed, 2 unknown (something could not be judged)."""
    url, _, commit = source.rpartition("@")
    fetched = {"url": url, "commit": commit, "trusted": not untrusted}
    has_source = bool(source or untrusted)
    tested = None if has_source else repository_meant(repository)
    introduce(tested, report_dir, url)
    given = {"stages": stages, "repository": tested, "source": fetched if has_source else None}
    parameters = _checked(
        tested,
        profile=profile,
        cluster=cluster,
        reuse=reuse,
        settings=installation().settings.cluster,
        report_dir=report_dir,
        seed=seed,
        trace=trace,
        profilers=_profilers(profiler or ()),
        keep=keep,
        run=new_run_id(),
        **{name: value for name, value in given.items() if value},
    )
    reports = [run_once(each, as_json=as_json) for each in matrix(parameters, node_image or ())]
    raise typer.Exit(max(reports, key=lambda report: report.verdict).exit_status)


def _profilers(given: Sequence[str]) -> dict[str, str]:
    """Read STAGE=KIND; raises ConfigError for anything else."""
    found = {name: kind for name, _, kind in (each.rpartition("=") for each in given)}
    names = [each.rpartition("=")[0] for each in given]
    wrong = [
        f"--profiler {each}: write STAGE=time or STAGE=memory"
        for each in given
        if not re.fullmatch(r"[^=]+=(time|memory)", each)
    ]
    wrong += [
        f"--profiler: {name} is there twice; a run keeps one page of a stage"
        for name in found
        if names.count(name) > 1
    ]
    if wrong:
        raise ConfigError("parameters of the run", wrong)
    return found


def _checked(tested: Path | None, **fields: object) -> Parameters:
    """Build the parameters; raises ConfigError with every problem, also with stages that there are not."""
    wrong: list[str] = []
    every = stages_of(read_project(tested)) if tested else {}
    known = {name for each in every.values() for name in (each.name, each.origin)}
    for name in cast("Sequence[str]", fields.get("stages", ())) if tested else ():
        wrong += [] if name in known else [f"stages: {UnknownName('stage', name, every)}"]
    try:
        parameters = Parameters.checked(**fields)
    except ConfigError as exc:
        raise ConfigError(exc.origin, [*wrong, *exc.problems]) from exc
    if wrong:
        raise ConfigError("parameters of the run", wrong)
    return parameters


def run_once(parameters: Parameters, *, as_json: bool) -> Report:
    """Run once, showing how it goes and the verdict; CannotRun when the machine lacks something."""
    from deployments.launch import environment, launch
    from deployments.service.password import with_password
    from kvsync.ci.doctor.doctor import examine

    run = Run(parameters, installation())
    if not parameters.source:
        run = run.of_project(read_project(parameters.repository))
        parameters = run.parameters
    if run.needs_cluster if run.project else parameters.cluster != LOCAL:
        findings = examine(
            ClusterChoice.parse(parameters.cluster),
            run.cluster_settings,
            folder=parameters.report_dir,
            name=f"kvsync-{parameters.run}",
            reuse=parameters.reuse,
            environ=stage_environment(environ, trusted=True),
            tools=Tools(environ=dict(environ)),
            with_image=run.needs_image,
            repository=None if parameters.source else parameters.repository,
        )
        require(findings, parameters.cluster)
    progress = Console(stderr=True, highlight=False) if as_json else console
    attempt = f", attempt {parameters.repeat.attempt}" if parameters.repeat else ""
    progress.print(
        f"run {parameters.run}{attempt} of {_subject(parameters)}: "
        f"{', '.join(parameters.due) or f'what its {FILE} says'} "
        f"({parameters.profile}, {parameters.cluster})",
        markup=False,
        soft_wrap=True,
    )
    make_room_for_reports(parameters.report_dir)
    found = with_password(parameters.report_dir, environ)
    environ.update(environment(parameters.report_dir, found))  # the charts of a run that died keep a cache
    report = launch(run, progress)
    progress.print(f"report: {run.folder.page}", soft_wrap=True)
    if as_json:
        say_report(report)
    else:
        say_why_not_run(report)
        if parameters.profilers:
            say_profiles(report)
        say_verdict(report)
    return report


def _subject(parameters: Parameters) -> Subject:
    asked = parameters.model_dump(mode="json")
    if parameters.source:
        return Subject.of(asked)
    code = revision(parameters.repository, reports=parameters.report_dir)
    return Subject.of(asked, commit=code.commit, branch=code.branch, dirty=code.dirty)
