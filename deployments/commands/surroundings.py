"""What a command is about: the repository that is tested, and the files that say how. It is said first."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from deployments.commands.console import environ
from kvsync.ci.cluster_settings import FILE
from kvsync.ci.errors import NoRepository
from kvsync.ci.project.model import FILE as STAGES_FILE
from kvsync.ci.project.reading import has_file
from kvsync.ci.revision import revision, top_level
from kvsync.ci.run.parameters import REPOSITORY
from kvsync.ci.settings import Settings, settings_file


def repository_meant(given: Path | None) -> Path:
    """Return the repository that a command is about: the given one, or the one that one stands in.

    Raises NoRepository for a folder that is not there.
    """
    if given is None:
        return top_level(Path.cwd()) or Path.cwd()
    if not given.is_dir():
        raise NoRepository(f"--repository {given}: there is no such folder")
    return given.resolve()


def introduce(repository: Path | None, reports: Path, source: str = "") -> None:
    """Say on standard error what is tested and which files say how; warn of one near by that is not read.

    `repository` is None for a commit that is still to be fetched from `source`, or where none is tested.
    """
    settings = settings_file(REPOSITORY, environ)
    said = [f"repository {source}"] if source else []
    if repository:
        code = revision(repository, reports=reports.resolve())
        at = f" at {code.commit[:10]}" if code.commit else ", which has no commit"
        dirty = " with uncommitted changes" if code.dirty else ""
        stages = STAGES_FILE if has_file(repository) else f"guessed, for there is no {STAGES_FILE}"
        said += [f"repository {repository}{at}{dirty}", f"stages: {stages}"]
    said.append(f"settings: {settings if settings.is_file() else 'defaults, for there is no file of them'}")
    console = Console(stderr=True, highlight=False)
    console.print("; ".join(said), markup=False, soft_wrap=True)
    for near in unread(settings, [Path.cwd(), *([repository] if repository else [])]):
        line = f"warning: {near} is not read; if it is yours: kvsync-ci --config {near} ..."
        console.print(line, markup=False, soft_wrap=True)


def introduce_scheduled(settings: Settings, reports: Path) -> None:
    """Say the same of what schedules test: a branch of a server, or the files that lie here."""
    github, more = settings.github, settings.repositories
    others = "; ".join(f"repository {each.url}, branch {each.branch}" for each in more.values())
    if github.repository:
        own = f"{github.web_url}/{github.repository}, branch {settings.archive.branch}"
        introduce(None, reports, "; ".join(filter(None, [own, others])))
    else:
        introduce(REPOSITORY, reports, others.removeprefix("repository "))


def unread(read: Path, folders: Iterable[Path]) -> list[Path]:
    """Return the settings files in these folders that are not the one that is read."""
    found = dict.fromkeys((folder / FILE).resolve() for folder in folders if (folder / FILE).is_file())
    return [path for path in found if path != read.resolve()]
