"""`kvsync-ci compare`: two runs in every form, with the exit status that scripts go by."""

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli import app
from kvsync.ci.report.report import Report
from kvsync.ci.run_folder import RunFolder
from kvsync.errors import ConfigError
from kvsync.testing.results.outcome import Check, CheckKind, StageResult, merge

AT = datetime(2026, 11, 20, tzinfo=UTC)
A, B = "20261120-030000-0123456789ab", "20261121-030000-0123456789ab"


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """A report folder with two runs: one test of the second newly fails, with much to say."""
    keep(tmp_path, A, "passed", "failed", branch="main")
    keep(tmp_path, B, "failed", "passed", branch="a-branch/of-a-long-name-" + "x" * 60)
    return tmp_path


def keep(folder: Path, name: str, *kinds: CheckKind, branch: str) -> None:
    """Put a run into a report folder."""
    run = RunFolder(folder / name)
    checks = [
        Check(name=f"t.py::test_{number}[a|b]", kind=kind, detail="E   assert [x] == " + "y" * 100)
        for number, kind in enumerate(kinds)
    ]
    Report(
        run=name,
        started_at=AT,
        duration_s=9.0,
        command="kvsync-ci run",
        stages=[merge("unit", checks, started_at=AT, duration_s=5.0)],
        parameters={},
        commit="c" * 40,
        branch=branch,
        versions={},
        machine={},
    ).write(run.report)


def compare(reports: Path, *words: str) -> Result:
    """Run `kvsync-ci compare`."""
    words = ("compare", *words, "--report-dir", str(reports))
    return CliRunner().invoke(app, words, catch_exceptions=False)


def test_text_fits_a_terminal(reports: Path) -> None:
    """Ids and names are whole, messages are cut at 80 columns, and the last line says it all."""
    done = compare(reports, A, B)
    lines = done.stdout.splitlines()

    assert done.exit_code == 1
    assert max(map(len, lines)) <= 80
    assert [line.split()[1] for line in lines[:2]] == [A, B]
    assert "  t.py::test_0[a|b]" in lines
    assert lines[-1] == "1 newly failing, 1 fixed"


def test_a_run_and_itself(reports: Path) -> None:
    """The later run is `last` by default; what fails in both is nothing new."""
    done = compare(reports, B)

    assert done.stdout.splitlines()[-1] == "1 still failing"
    assert done.exit_code == 0


def test_other_forms(reports: Path) -> None:
    """JSON, CSV and Markdown say the same, each whole."""
    found = json.loads(compare(reports, A, B, "--json").stdout)
    rows = list(csv.DictReader(io.StringIO(compare(reports, A, B, "--csv").stdout)))
    page = compare(reports, A, B, "--markdown").stdout

    assert (found["after"]["run"], found["exit_status"]) == (B, 1)
    assert [each["change"] for each in found["checks"]] == ["newly failing", "fixed"]
    assert [(row["change"], row["check"]) for row in rows] == [
        ("newly failing", "t.py::test_0[a|b]"),
        ("fixed", "t.py::test_1[a|b]"),
    ]
    assert rows[0]["headline"] == "assert [x] == " + "y" * 100
    assert page.startswith("### 1 newly failing, 1 fixed\n")
    assert "` t.py::test_0[a\\|b] `" in page


def test_one_form_at_a_time(reports: Path) -> None:
    """Two forms would be mixed on one output."""
    with pytest.raises(ConfigError, match=r"--json --csv: .*\n?one form at a time"):
        compare(reports, A, B, "--json", "--csv")


def test_a_run_in_other_forms(reports: Path) -> None:
    """`show` prints one run as CSV and as Markdown, too."""
    words = ("show", B, "--report-dir", str(reports))
    table = CliRunner().invoke(app, [*words, "--csv"], catch_exceptions=False).stdout
    page = CliRunner().invoke(app, [*words, "--markdown"], catch_exceptions=False).stdout

    assert [row["kind"] for row in csv.DictReader(io.StringIO(table))] == ["failed", "passed"]
    assert page.startswith("### FAILED: ")


def test_a_run_says_why_a_stage_is_in_doubt(tmp_path: Path) -> None:
    """`show` says what no check says, such as that a file was cut, even where another stage has failed."""
    keep(tmp_path, A, "failed", branch="main")
    report = Report.read(RunFolder(tmp_path / A).report)
    cut = merge("go", [Check(name="a", kind="passed")], started_at=AT).doubted("junit.xml: it was cut")
    absent = StageResult.unknown("lint", "not run: no ruff", started_at=AT, detail="no ruff")
    empty = merge("old", [], started_at=AT)
    replace(report, stages=[*report.stages, cut, absent, empty]).write(RunFolder(tmp_path / A).report)

    shown = CliRunner().invoke(app, ["show", A, "--report-dir", str(tmp_path)], catch_exceptions=False).stdout

    assert "go: 1 passed (0 s)\n         junit.xml: it was cut\n" in shown
    assert shown.count("no ruff") == 1
    assert "old: no check (0 s)\n" in shown
