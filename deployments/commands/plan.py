"""`kvsync-ci init` and `kvsync-ci plan`: describe a repository's stages, and see what would run."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deployments.commands.console import DEFAULT_REPORTS, AsJson, ReportDir, installation, say, say_json
from deployments.commands.surroundings import introduce, repository_meant
from deployments.commands.tables import plain_table, say_table
from kvsync.ci.project.chaos_stage import ChaosStageTable
from kvsync.ci.project.choice import Occasion, ProjectStage, choose, stages_of
from kvsync.ci.project.found_stages import AuditStageTable, BenchmarkStageTable
from kvsync.ci.project.guess import guess_with_preparation, packages_to_name
from kvsync.ci.project.load_stage import LoadStageTable, described
from kvsync.ci.project.model import FILE, CommandStageTable
from kvsync.ci.project.reading import has_file, parse_project, read_project
from kvsync.ci.project.relations import filled
from kvsync.ci.project.values import Profile, Schedule, Trigger
from kvsync.ci.project.writing import as_toml
from kvsync.ci.revision import leave_out
from kvsync.errors import ConfigError

RepositoryOption = Annotated[
    Path | None, typer.Option("--repository", help="The repository; else the one that you are in.")
]


def init(repository: RepositoryOption = None, report_dir: ReportDir = DEFAULT_REPORTS) -> None:
    """Write a first stages.toml by looking at a repository, whatever its language.

    It looks for tests/, go.mod, package.json, Cargo.toml, pom.xml, build.gradle and a Makefile. Nothing is
    run for it, and a file that is there is left alone. Git is told, in this clone alone, to leave out the
    folder in which runs are kept.
    """
    folder = repository_meant(repository)
    if has_file(folder):
        raise ConfigError(str(folder / FILE), ["it is there already; look at it with: kvsync-ci plan"])
    document = guess_with_preparation(folder)
    if not document["stages"]:
        raise ConfigError(
            f"the stages of {folder}",
            [f"no tests are recognised; write {FILE} by hand: docs/any-system.md shows how"],
        )
    text = as_toml(document)
    parse_project(text)
    (folder / FILE).write_text(text, encoding="utf-8")
    introduce(folder, report_dir)
    say(text)
    say(f"written: {folder / FILE}; see what would run with: kvsync-ci plan")
    if file := leave_out(report_dir.resolve()):
        say(f"git leaves out {report_dir}/, where runs are kept, by {file}: in this clone, for nobody else")
    if (packages := packages_to_name(folder)) and report_dir.resolve().parent == folder.resolve():
        named = f"[tool.setuptools]\npackages = {json.dumps(packages)}"
        say(f"setuptools would take {report_dir}/ for a package, too; name yours in pyproject.toml:\n{named}")


def plan(
    stages: Annotated[list[str] | None, typer.Argument(help="Stages that the run would name.")] = None,
    profile: Annotated[Profile, typer.Option(help="Of the run.")] = "quick",
    trigger: Annotated[Trigger, typer.Option(help="What would start the run.")] = "manual",
    schedule: Annotated[Schedule | None, typer.Option(help="Which schedule would start it.")] = None,
    repository: RepositoryOption = None,
    report_dir: ReportDir = DEFAULT_REPORTS,
    as_json: AsJson = False,
) -> None:
    """Show what would run, in which order, and how long it took lately. Nothing is run."""
    folder = repository_meant(repository)
    introduce(folder, report_dir)
    project = read_project(folder)
    when = Occasion(profile=profile, trigger="schedule" if schedule else trigger, schedule=schedule)
    chosen = choose(project, stages or (), when)
    every, longest_s = stages_of(project), installation().settings.stages.longest_s
    lately = _lately(folder, every, profile, report_dir)
    order = [*chosen, *(name for name in every if name not in chosen)]
    lines = [_line(every[name], profile, name in chosen, longest_s, lately.get(name)) for name in order]
    if as_json:
        say_json({"prepare": [list(words) for words in project.project.prepare], "stages": lines})
        return
    for words in project.project.prepare:
        say(f"prepare: {shlex.join(words)}")
    table = plain_table(
        "stage", "runs", "what", "after", "limit", "lately", whole=("stage", "limit", "lately")
    )
    for line in lines:
        took = f"{line['lately_s']:.0f} s" if line["lately_s"] is not None else ""
        limit, what = f"{line['limit_s']:.0f} s", escape(str(line["what"]))
        is_chosen = "yes" if line["runs"] else "no"
        table.add_row(escape(str(line["stage"])), is_chosen, what, escape(str(line["after"])), limit, took)
    say_table(table)
    known = [lately[name] for name in chosen if name in lately]
    unknown = len(chosen) - len(known)
    said = [f"stages that would run: {len(chosen)}"]
    said += [f"about {sum(known):.0f} s by the last runs that passed"] if known else []
    said += [f"not known of: {unknown}"] if known and unknown else []
    say(", ".join(said))


def _line(
    stage: ProjectStage, profile: Profile, runs: bool, longest_s: float, lately_s: float | None
) -> dict[str, object]:
    table = stage.table
    if isinstance(table, CommandStageTable | BenchmarkStageTable | AuditStageTable):
        what = shlex.join(filled(word, stage.values) for word in table.command)
    elif isinstance(table, ChaosStageTable):
        what = f"faults: {', '.join(table.faults)}"
    elif isinstance(table, LoadStageTable):
        what = filled(described(table, profile), stage.values)
    else:
        what = f"pytest {stage.folder}"
    return {
        "stage": stage.name,
        "runs": runs,
        "kind": table.kind,
        "what": what,
        "after": ", ".join(dict.fromkeys([*table.needs, *table.after])),
        "limit_s": min(table.timeout, longest_s),
        "lately_s": lately_s,
    }


def _lately(
    folder: Path, stages: Mapping[str, ProjectStage], profile: Profile, report_dir: Path
) -> dict[str, float]:
    """Return how many seconds stages took lately; nothing where there has been no run."""
    from kvsync.ci.archive.archive import existing_archive
    from kvsync.ci.archive.database import ArchiveError

    try:
        with existing_archive(installation().settings, report_dir) as archive:
            asked = {"repository": str(folder), "profile": profile}
            compared = [name for name, stage in stages.items() if stage.is_compared]
            return archive.eta(list(stages), archive.scope(asked), compared)
    except ArchiveError:
        return {}
