"""`kvsync-ci badge`: how a branch stands, as a picture for a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.console import DEFAULT_REPORTS, ReportDir, installation, say
from kvsync.ci.report.badge import badge as drawn
from kvsync.errors import ConfigError, UnknownName
from kvsync.testing.results.outcome import Outcome
from kvsync.testing.results.whole import write_whole

if TYPE_CHECKING:
    from kvsync.ci.archive.records import PastRun


def badge(
    repository: Annotated[str, typer.Option(metavar="NAME", help="As `history --json` names it.")] = "",
    branch: Annotated[str, typer.Option(help="Whose commits; without it, the reference branch.")] = "",
    profile: Annotated[str, typer.Option(help="Only runs in this profile.")] = "",
    stage: Annotated[str, typer.Option(metavar="STAGE", help="How this stage ended, not the run.")] = "",
    output: Annotated[Path | None, typer.Option(help="The file to write; without it, it is printed.")] = None,
    report_dir: ReportDir = DEFAULT_REPORTS,
) -> None:
    """Draw a badge (SVG) of the newest run of a branch; pull requests and uncommitted files do not count."""
    from kvsync.ci.archive.archive import existing_archive

    settings = installation().settings
    with existing_archive(settings, report_dir) as archive:
        known = sorted({scope.repository for scope in archive.scopes()})
        named = one_repository(repository or settings.github.repository, known)
        run = archive.newest(named, branch or settings.archive.branch, profile=profile, stage=stage)
    svg = picture(run, stage)
    if output is None:
        typer.echo(svg, nl=False)
        return
    try:
        write_whole(output, svg)
    except OSError as exc:
        raise ConfigError(str(output), [f"the badge cannot be written: {exc}"]) from exc
    say(f"badge: {output}")


def one_repository(asked: str, known: list[str]) -> str:
    """Return the repository that is meant. Raises UnknownName, or ConfigError when it has to be named."""
    if asked:
        if asked not in known:
            raise UnknownName("repository", asked, known)
        return asked
    if len(known) != 1:
        problem = f"it has runs of {', '.join(known) or 'no repository'}; name one with --repository"
        raise ConfigError("archive", [problem])
    return known[0]


def picture(run: "PastRun | None", stage: str = "") -> str:
    """Return the badge of a run, or of one of its stages; without a run, of that."""
    label = stage or "tests"
    if run is None:
        return drawn(label, "no run", None)
    outcome: Outcome = next((each.outcome for each in run.stages if each.name == stage), run.verdict)
    word = outcome.name.lower()
    title = f"{label}: {word}, {run.started_at:%Y-%m-%d}, commit {run.commit[:10]}, run {run.run}"
    return drawn(label, word, outcome, title=title)
