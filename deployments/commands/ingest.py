"""`kvsync-ci ingest`: results of another CI into the same archive, statuses and histories."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.console import (
    DEFAULT_REPORTS,
    AsJson,
    ReportDir,
    installation,
    make_room_for_reports,
    say,
    say_report,
    say_verdict,
)
from kvsync.ci.revision import Revision, revision
from kvsync.ci.run.parameters import Parameters, new_run_id
from kvsync.ci.run.run import Run
from kvsync.errors import ConfigError

if TYPE_CHECKING:
    from kvsync.ci.report.report import Report

ON_GITHUB = re.compile(r"[\w.-]+/[\w.-]+")


def ingest(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Files that tools wrote, or folders of such; the format is told by what is in it."
        ),
    ],
    stage: Annotated[
        str, typer.Option(help="The name of the stage that they are the results of.")
    ] = "ingested",
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="junit, go-test, tap, go-bench, pytest-benchmark, hyperfine, customBiggerIsBetter,"
            " customSmallerIsBetter, pip-audit, cargo-audit, npm-audit, govulncheck, sarif, coverage.py,"
            " cobertura, lcov or go-cover; of all files.",
        ),
    ] = "",
    repository: Annotated[
        str,
        typer.Option(metavar="NAME", help="owner/name on GitHub, or a folder; else the one you stand in."),
    ] = "",
    commit: Annotated[
        str, typer.Option(metavar="SHA", help="What was tested, in full; else what is checked out.")
    ] = "",
    branch: Annotated[str, typer.Option(help="Its branch.")] = "",
    pull_request: Annotated[int | None, typer.Option(metavar="NUMBER", help="Its pull request.")] = None,
    untrusted: Annotated[
        bool, typer.Option("--untrusted", help="The commit is a fork's: its branch is never the reference.")
    ] = False,
    attempts: Annotated[
        bool, typer.Option("--attempts", help="In JUnit files, tests of one name are attempts at one.")
    ] = False,
    report_dir: ReportDir = DEFAULT_REPORTS,
    as_json: AsJson = False,
) -> None:
    """Record the results of another CI as a run: for `list`, `show`, `history`, `flaky` and GitHub.

    Exit status: 0 passed, 1 failed, 2 unknown, also if a file cannot be read.
    """
    source, folder, here = _tested(repository, commit, branch, report_dir, files)
    if source is None and (pull_request or untrusted):
        raise ConfigError("--commit", ["a pull request or a fork is of a commit: name it, with --commit"])
    if source:
        source |= {"pull_request": pull_request, "trusted": not untrusted}
    parameters = Parameters.checked(
        trigger="ingest",
        stages=(stage,),
        repository=folder,
        source=source,
        report_dir=report_dir,
        run=new_run_id(),
    )
    report = record(parameters, files, here, format_name=file_format, attempts=attempts, quiet=as_json)
    if as_json:
        say_report(report)
    raise typer.Exit(report.exit_status)


def _tested(
    repository: str, commit: str, branch: str, report_dir: Path, files: Sequence[Path]
) -> tuple[dict[str, object] | None, Path, Revision]:
    """Return what was tested: the source if it is named, the folder to read the gates from, what is in it."""
    folder = Path(repository or ".")
    if not folder.is_dir():
        if not ON_GITHUB.fullmatch(repository):
            raise ConfigError("--repository", [f"{repository}: no such folder, and not owner/name"])
        web_url = installation().settings.github.web_url
        named = {"url": f"{web_url}/{repository}", "repository": repository, "commit": commit, "ref": branch}
        return dict(named), Path(), Revision()
    here = _checked_out(folder, report_dir, files)
    if commit:
        return {"url": str(folder.resolve()), "commit": commit, "ref": branch}, folder, here
    return None, folder, replace(here, branch=branch or here.branch)


def _checked_out(folder: Path, report_dir: Path, files: Sequence[Path]) -> Revision:
    """Return what is checked out in a folder; the files of results, which may lie in it, are no change."""
    results = [each.resolve() for each in files]
    return revision(folder.resolve(), reports=report_dir.resolve(), results=results)


def record(
    parameters: Parameters,
    files: Sequence[Path],
    code: Revision,
    *,
    format_name: str = "",
    attempts: bool = False,
    quiet: bool = False,
) -> "Report":
    """Read files and keep them as a run, saying so; raises ConfigError before anything is kept."""
    from kvsync.ci.handover.ingestion import ingest as keep
    from kvsync.ci.readers.files import read_files

    every = list(_each(files))
    found = read_files(
        every,
        name=parameters.stages[0],
        format_name=format_name,
        attempts=attempts,
        root=str(parameters.repository),
    )
    run = Run(parameters, installation())
    make_room_for_reports(parameters.report_dir)
    report = keep(run, found, every, code)
    if not quiet:
        say(f"run {report.run} of {report.subject}: {', '.join(sorted(set(found.formats)))}")
        for remark in found.result.remarks:
            say(f"remark: {remark}")
        say(f"report: {run.folder.page}")
        say_verdict(report)
    return report


def recorded_here(files: Sequence[Path], stage: str, report_dir: Path, *, attempts: bool) -> "Report":
    """Keep JUnit files as a run of what is checked out here, without a word."""
    folder = Path().resolve()
    parameters = Parameters.checked(
        trigger="ingest", stages=(stage,), repository=folder, report_dir=report_dir, run=new_run_id()
    )
    here = _checked_out(folder, report_dir, files)
    return record(parameters, files, here, format_name="junit", attempts=attempts, quiet=True)


def _each(files: Iterable[Path]) -> Iterable[Path]:
    """Yield files, and those directly in folders, in the order of their names."""
    for path in files:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.is_file())
            if not inside:
                raise ConfigError(
                    str(path), ["the folder holds no file; was it written where it is looked for?"]
                )
            yield from inside
        else:
            yield path
