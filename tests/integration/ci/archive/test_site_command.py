"""`kvsync-ci site`: the pages of all runs, in the report folder and in a store."""

import json
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from deployments.cli import app
from kvsync.ci.archive.archive import Archive
from kvsync.ci.archive.database import ArchiveError
from kvsync.ci.handover.handover import Handover
from kvsync.ci.handover.site import renew_site
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.run import Installation, Run
from kvsync.ci.settings import ArchiveSettings, Settings
from kvsync.ci.site.site import write_site

MakeReport = Callable[..., Report]

TODAY = datetime.now(UTC).date()

QUARANTINE = f"""
[[quarantine]]
test = "tests/unit/t.py::test_a"
owner = "@me"
reason = "slow"
issue = "https://example.com/1"
added = {TODAY}
expires = {TODAY}
"""


def site(folder: Path, **env: str) -> list[str]:
    """Run the command; returns the lines it printed."""
    words = ["site", "--report-dir", str(folder)]
    result = CliRunner().invoke(app, words, env=env, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout.splitlines()


def rows(page: Path) -> list[list[object]]:
    """Return the rows of a page's grid, as its script reads them."""
    found = re.search(r'id="grid-data">(.*)</script>', page.read_text())
    assert found
    kept: list[list[object]] = json.loads(found[1])["rows"]
    return kept


def record(folder: Path, *reports: Report) -> None:
    """Put reports into the archive of a folder."""
    with Archive.open("", folder) as archive:
        for report in reports:
            archive.record(report)


def test_the_pages_of_all_runs(tmp_path: Path, make_report: MakeReport) -> None:
    """The first says what fails since when, what is in quarantine and how tests ended; so does the store."""
    reports, store = tmp_path / "reports", tmp_path / "store"
    record(reports, *(make_report(day, unit=letters) for day, letters in enumerate(["PP", "PF", "RF"])))
    last = reports / "run-2"
    last.mkdir()
    for name, content in {"parameters.json": "{}", "quarantine.toml": QUARANTINE}.items():
        (last / name).write_text(content)

    said = site(reports, KVSYNC_CI_STORE_URL=str(store))

    index = reports / "all_runs" / "index.html"
    page = " ".join(index.read_text().split())
    assert said == [
        f"{index}: 3 runs, 1 pages, 1 of them written",
        f"stored: {(store / 'kvsync/all_runs/index.html').as_uri()}",
    ]
    assert (store / "kvsync/all_runs/index.html").read_bytes() == index.read_bytes()
    assert rows(index) == [[0, 0, "tests/unit/t.py::test_b", "FFP"], [0, 0, "tests/unit/t.py::test_a", "~PP"]]
    assert "<code>commit-1</code>" in page
    assert f'<td class="nowrap">{TODAY}</td> <td>1 d left</td> <td>@me</td>' in page


def test_older_runs_by_pages(tmp_path: Path, make_report: MakeReport) -> None:
    """A complete page is left alone by a new run, and not by one of its own that is judged again."""
    runs = [make_report(day, unit="P") for day in range(6)]
    with Archive.open("", tmp_path) as archive:

        def written(*reports: Report) -> list[str]:
            for report in reports:
                archive.record(report)
            return list(write_site(archive, tmp_path, size=2).written)

        assert written(*runs[:5]) == ["runs-0001.html", "runs-0002.html", "index.html"]
        assert written(make_report(0, unit="F")) == ["runs-0001.html", "index.html"]
        # The page before a new one leads to it.
        assert written(runs[5]) == ["runs-0002.html", "runs-0003.html", "index.html"]
        assert written() == ["index.html"]
    assert rows(tmp_path / "all_runs" / "runs-0001.html") == [[0, 0, "tests/unit/t.py::test_a", "PF"]]


def test_without_an_archive(tmp_path: Path) -> None:
    """A mistyped folder is said to have no run, and nothing is made there."""
    with pytest.raises(ArchiveError, match=r"it has no archive\.db"):
        site(tmp_path / "mistyped")

    assert not (tmp_path / "mistyped").exists()


def test_the_end_of_a_run(tmp_path: Path, make_report: MakeReport, caplog: pytest.LogCaptureFixture) -> None:
    """The pages are renewed; when that fails it is a warning that says how to do it again."""
    report = make_report(1, unit="P")
    record(tmp_path, report)
    parameters = Parameters(report_dir=tmp_path, run=report.run)

    def end(settings: Settings) -> Handover:
        handover = Handover(run=Run(parameters, Installation(settings)), report=report)
        return renew_site(handover, logging.getLogger("test"))

    assert not end(Settings()).pending
    assert (tmp_path / "all_runs" / "index.html").exists()
    assert not end(Settings(archive=ArchiveSettings(url=SecretStr("mysql://nowhere")))).pending
    assert f"again with: kvsync-ci site --report-dir {tmp_path}" in caplog.text


def test_the_pages_are_the_same_from_every_database(
    archive: Archive, tmp_path: Path, make_report: MakeReport
) -> None:
    """Of runs, verdicts, what fails since when, and the grid."""
    for day, letters in enumerate(["PP", "PF", "RF"]):
        archive.record(make_report(day, unit=letters))
    site = write_site(archive, tmp_path / "site", size=2)

    kept = [[row[2], row[3]] for row in rows(site.index)]
    assert (site.runs, site.pages) == (3, 2)
    assert kept == [["tests/unit/t.py::test_b", "FF"], ["tests/unit/t.py::test_a", "~P"]]
