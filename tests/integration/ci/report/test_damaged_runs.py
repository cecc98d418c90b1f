"""What the commands say of runs whose files were torn, as by a loss of power."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli import app
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run_folder import RunFolder
from kvsync.errors import ConfigError
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.results.outcome import Check, merge

AT = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """A report folder with two runs, the report of the later one torn."""
    for run in ("run-1", "run-2"):
        folder = RunFolder(tmp_path / run)
        Ledger(folder.ledger)
        folder.ledger.touch()
        folder.parameters.write_text(Parameters(run=run, stages=("unit",)).model_dump_json())
        Report(
            run=run,
            started_at=AT,
            duration_s=1.0,
            command="kvsync-ci run",
            stages=[merge("unit", [Check(name="t.py::test_a", kind="passed")], started_at=AT)],
            parameters={},
            versions={},
            machine={},
        ).write(folder.report)
    (tmp_path / "run-2" / "report.json").write_text("{")
    return tmp_path


def invoked(*words: str | Path) -> Result:
    """Run `kvsync-ci`."""
    return CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)


def test_one_torn_report_hides_no_other(reports: Path) -> None:
    """`list` shows those that can be read, and names the one that cannot on standard error."""
    shown, as_json = (
        invoked("list", "--report-dir", reports),
        invoked("list", "--json", "--report-dir", reports),
    )

    assert (shown.exit_code, as_json.exit_code) == (0, 0)
    assert "run-1" in shown.stdout
    assert [run["run"] for run in json.loads(as_json.stdout)] == ["run-1"]
    for each in (shown, as_json):
        assert f"{reports / 'run-2' / 'report.json'}: 1 problem" in each.stderr


@pytest.mark.parametrize("command", ["show", "recheck", "rerun"])
def test_a_torn_report_is_named(reports: Path, command: str) -> None:
    """The command that asks for the run names the file, and what to do."""
    with pytest.raises(ConfigError, match=r"run-2/report.json: 1 problem.*\n.*kvsync-ci rerun run-2"):
        invoked(command, "last", "--report-dir", reports)
