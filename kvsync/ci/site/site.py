"""The pages of all runs, written into the report folder from the archive, and brought to the store.

- `index.html` has the overview and the newest runs. Every `RUNS` runs, counted from the oldest, have a page
  of their own: it is written when they are complete and again only when one of them changes, so the end of a
  run costs the first page, however many runs there are.
- The folder's name is none that a run can have.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from kvsync.ci.archive.archive import Archive
from kvsync.ci.archive.records import PastRun
from kvsync.ci.run.quarantine import NAME, load_quarantine
from kvsync.ci.run_folder import ALL_RUNS, RunFolder
from kvsync.ci.site.grid import Grid, RunKinds
from kvsync.ci.site.overview import Overview, Quarantined, failing, newest_of_each, standing, unsteady
from kvsync.ci.site.pages import INDEX, PageText, Place, version
from kvsync.ci.site.trend import trends
from kvsync.ci.store.store import Store, digest
from kvsync.errors import ConfigError
from kvsync.testing.results.whole import write_whole

RUNS = 50
"""Columns of a grid: what a wide screen shows."""

LATELY = 200
"""The newest runs, of which verdicts and trends are shown."""

MOST_LINKS = 200
"""Older pages that a page links to; from the last of them the way leads on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSite:
    """What was written: the first page, how many runs and pages there are, and the pages that are new."""

    index: Path
    runs: int
    pages: int
    written: Sequence[str]


def write_site(
    archive: Archive, report_dir: Path, *, everywhere: bool = False, size: int = RUNS
) -> WrittenSite:
    """Bring the pages of all runs up to date with the archive. Raises ArchiveError and OSError.

    `everywhere`: every report is linked, and not only those in the folder, since they are all in a store.
    `size`: runs of one page.
    """
    folder = report_dir / ALL_RUNS
    runs = archive.series(limit=None, counted=False)
    reports = {path.parent.name for path in report_dir.glob("*/report.html")}
    linked = {run.run for run in runs if everywhere or run.run in reports}
    chunks = complete(runs, size)
    written = []
    for number, chunk in enumerate(chunks, start=1):
        place = _place(number, chunks, linked)
        path = folder / page_name(number)
        if not _is_made_from(path, place.mark):
            page = PageText(grid=_grid(archive, chunk), place=place, linked=linked, runs=len(chunk))
            _write(path, page)
            written.append(path.name)
    _remove_others(folder, len(chunks))
    first = PageText(
        grid=_grid(archive, runs[:size]),
        overview=_overview(archive, report_dir, runs[:LATELY]),
        place=Place(older=_links(chunks)),
        linked=linked,
        runs=len(runs),
    )
    _write(folder / INDEX, first)
    return WrittenSite(index=folder / INDEX, runs=len(runs), pages=len(chunks) + 1, written=[*written, INDEX])


def store_site(site: WrittenSite, store: Store, project: str) -> str:
    """Bring the pages in a store up to date; returns the address of the first. Raises StoreError."""
    base = f"{project}/{ALL_RUNS}/"
    for path in sorted(site.index.parent.glob("*.html")):
        if store.stat(base + path.name) != digest(path):
            store.put(base + path.name, path)
    return store.url(base + INDEX).partition("?")[0]


def complete(runs: Sequence[PastRun], size: int) -> list[Sequence[PastRun]]:
    """Split runs, the newest first, into complete pages, the oldest page first."""
    oldest_first = list(reversed(runs))
    whole = len(runs) // size
    return [oldest_first[at * size : (at + 1) * size][::-1] for at in range(whole)]


def page_name(number: int) -> str:
    """Return the name of an older page; page 1 has the oldest runs."""
    return f"runs-{number:04}.html"


def _grid(archive: Archive, runs: Sequence[PastRun]) -> Grid:
    def checked() -> Iterator[tuple[PastRun, RunKinds]]:
        for run in runs:
            yield run, archive.kinds(run.run)

    return Grid.of(checked())


def _overview(archive: Archive, report_dir: Path, runs: Sequence[PastRun]) -> Overview:
    scopes = list(dict.fromkeys(run.scope for run in runs))
    past = {scope: archive.endings(scope) for scope in scopes}
    held, problems = _quarantines(report_dir, runs, datetime.now(UTC).date())
    return Overview(
        newest=newest_of_each(runs),
        failing=[each for scope in scopes for each in failing(scope, past[scope])],
        unsteady=[each for scope in scopes for each in unsteady(scope, past[scope])],
        quarantined=held,
        trends=trends(runs, archive.measurements([run.run for run in runs]), most=RUNS),
        problems=problems,
    )


def _quarantines(
    report_dir: Path, runs: Sequence[PastRun], today: date
) -> tuple[list[Quarantined], list[str]]:
    """Return the quarantine of each repository, as its newest run whose folder is here was judged by it."""
    held: list[Quarantined] = []
    problems: list[str] = []
    seen: set[str] = set()
    for run in runs:
        repository, folder = run.scope.repository, RunFolder(report_dir / run.run)
        if repository in seen or not folder.parameters.exists():
            continue
        seen.add(repository)
        try:
            entries = load_quarantine(folder.path / NAME).quarantine
        except ConfigError as error:
            problems.append(f"{repository}: {error}")
            continue
        held += [
            Quarantined(repository=repository, entry=each, standing=standing(each, today))
            for each in sorted(entries, key=lambda each: each.expires)
        ]
    return held, problems


def _place(number: int, chunks: Sequence[Sequence[PastRun]], linked: Collection[str]) -> Place:
    newer = page_name(number + 1) if number < len(chunks) else INDEX
    older, runs = _links(chunks[: number - 1]), chunks[number - 1]
    facts = [version(), newer, older, runs, [run.run in linked for run in runs]]
    mark = hashlib.sha256(repr(facts).encode(errors="replace")).hexdigest()
    return Place(number=number, newer=newer, older=older, mark=mark)


def _links(chunks: Sequence[Sequence[PastRun]]) -> list[tuple[str, str]]:
    """Return the names of pages and what links to them say, those with the newest runs first."""
    named = [
        (page_name(number), f"{runs[-1].started_at:%Y-%m-%d} to {runs[0].started_at:%Y-%m-%d}")
        for number, runs in enumerate(chunks, start=1)
    ]
    return named[::-1][:MOST_LINKS]


def _is_made_from(path: Path, mark: str) -> bool:
    try:
        with path.open("rb") as file:
            return mark.encode() in file.read(300)
    except FileNotFoundError:
        return False


def _remove_others(folder: Path, pages: int) -> None:
    known = {page_name(number) for number in range(1, pages + 1)}
    for path in folder.glob("runs-*.html"):
        if path.name not in known:
            path.unlink(missing_ok=True)


def _write(path: Path, page: PageText) -> None:
    # As for reports: a lone surrogate has no UTF-8 form.
    write_whole(path, page.render().encode(errors="replace"))
