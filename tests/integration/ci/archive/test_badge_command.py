"""`kvsync-ci badge`: the newest run of a branch decides, and only runs that are its own."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from kvsync.ci.archive.archive import Archive
from kvsync.ci.report.report import Report
from kvsync.errors import ConfigError, UnknownName

MakeReport = Callable[..., Report]

FORK = {"repository": "me/gw", "trusted": False, "pull_request": 7}


@pytest.fixture
def reports(tmp_path: Path, make_report: MakeReport) -> Path:
    """An archive whose branch main passed at last, where newer runs that are not its own failed."""
    runs = [
        make_report(0, unit="F"),
        make_report(1, unit="PP", e2e="P"),
        make_report(2, unit="F", dirty=True),
        make_report(3, unit="F", branch="topic"),
        make_report(4, unit="F", source=FORK),
        make_report(5, unit="F", source={"repository": "me/gw", "pull_request": 8}),
        make_report(6, unit="F", e2e="P", profile="full", source={"repository": "me/gw"}),
    ]
    with Archive.open("", tmp_path) as archive:
        for run in runs:
            archive.record(run)
    return tmp_path


def texts(reports: Path, *words: str) -> list[str | None]:
    """Return the two words of the badge."""
    words = ("badge", *words, "--report-dir", str(reports))
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    root = ElementTree.fromstring(done.stdout)  # noqa: S314  # ours
    return [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--repository", "/somewhere/kvsync"], ["tests", "passed"]),
        (["--repository", "/somewhere/kvsync", "--branch", "topic"], ["tests", "failed"]),
        (["--repository", "/somewhere/kvsync", "--branch", "absent"], ["tests", "no run"]),
        (["--repository", "me/gw"], ["tests", "failed"]),
        (["--repository", "me/gw", "--stage", "e2e"], ["e2e", "passed"]),
        (["--repository", "me/gw", "--profile", "quick"], ["tests", "no run"]),
    ],
    ids=" ".join,
)
def test_whose_run_it_is(reports: Path, words: list[str], shown: list[str]) -> None:
    """Of a repository and a branch; a fork, a pull request and uncommitted files change nothing."""
    assert texts(reports, *words) == shown


def test_which_repository(reports: Path) -> None:
    """With several it has to be named, and exactly."""
    for words, error in ((), ConfigError), (("--repository", "kvsink"), UnknownName):
        with pytest.raises(error, match="kvsync"):
            texts(reports, *words)


def test_a_file(reports: Path) -> None:
    """It is written whole; where it cannot be, that is said."""
    words = ("badge", "--repository", "/somewhere/kvsync", "--report-dir", str(reports), "--output")
    file = reports / "badge.svg"

    assert CliRunner().invoke(app, [*words, str(file)]).stdout == f"badge: {file}\n"
    assert file.read_text().startswith("<svg ")
    with pytest.raises(ConfigError, match="cannot be written"):
        CliRunner().invoke(app, [*words, str(reports / "archive.db" / "b.svg")], catch_exceptions=False)
