"""Coverage as a page that opens offline: verdicts, changed lines, and of each file what did not run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kvsync.ci.page.templates import Filters, templates
from kvsync.ci.readers.coverage.assessment import Assessment
from kvsync.ci.readers.coverage.coverage import Coverage, FileCoverage, Tally, line_ranges
from kvsync.ci.readers.coverage.gate import share
from kvsync.testing.results.outcome import worded
from kvsync.testing.results.texts import shortened
from kvsync.testing.results.whole import write_whole

MOST_FILES = 5000
"""Files shown, the least covered first: a page of more takes a browser seconds."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """What the page says of a file."""

    path: str
    tally: Tally
    missed: str
    partial: str

    @classmethod
    def of(cls, path: str, file: FileCoverage) -> "FileRow":
        """Return the row of a file."""
        return cls(path, file.tally, line_ranges(file.missed), line_ranges(file.partial))


def write_coverage_page(found: Assessment, path: Path, title: str) -> None:
    """Write the page; raises OSError."""
    write_whole(path, render(found, title).encode(errors="replace"))


def render(found: Assessment, title: str) -> str:
    """Return the page; all text in it is escaped."""
    filters: Filters = {"cut": shortened, "percent": percent, "worded": worded}
    rows = sorted(_rows(found.coverage), key=lambda row: (row.tally.rank, row.path))
    return (
        templates(Path(__file__).parent, filters)
        .get_template("coverage.html")
        .render(
            title=title,
            found=found,
            total=found.coverage.tally,
            of=found.gate.of,
            share=share,
            folders=folders(found.coverage),
            rows=rows[:MOST_FILES],
            more=max(0, len(rows) - MOST_FILES),
            changed=list(_rows(found.changed)) if found.changed else [],
        )
    )


def folders(coverage: Coverage) -> dict[str, Tally]:
    """Return how much ran of each folder's own files."""
    found: dict[str, Tally] = {}
    for path, each in coverage.files.items():
        folder = path.rpartition("/")[0] or "."
        found[folder] = found.get(folder, Tally()) + each.tally
    return dict(sorted(found.items()))


def percent(value: float | None) -> str:
    """Return a percentage, never rounded up to 100."""
    if value is None:
        return "-"
    return f"{value:.1f} %" if value == 100 or value < 99.95 else "99.9 %"


def _rows(coverage: Coverage) -> Iterator[FileRow]:
    for path, each in coverage.files.items():
        yield FileRow.of(path, each)
