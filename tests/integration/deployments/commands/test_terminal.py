"""What people copy from a terminal: the ids of runs, whole, however narrow it is."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kvsync.ci.archive.archive import Archive
from kvsync.ci.report.report import Report
from kvsync.ci.run_folder import RunFolder
from kvsync.testing.results.outcome import Check, Outcome, StageResult, merge

RUNS = ("20261120-030000-0123456789ab", "20261121-030000-0123456789ab-2")
AT = datetime(2026, 11, 20, tzinfo=UTC)
NODE = "tests/unit/routing/test_routing.py::test_a_rather_long_name[with-a-parameter-as-well]"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report folder with two failed runs of many stages."""
    folder = tmp_path_factory.mktemp("reports")
    stages = [_stage(name) for name in ("unit", "integration", "property", "e2e", "benchmark", "load")]
    with Archive.open("", folder) as archive:
        for name in RUNS:
            run = RunFolder(folder / name)
            report = Report(
                run=name,
                started_at=AT,
                duration_s=8123.0,
                command="kvsync-ci run",
                stages=stages,
                parameters={"profile": "full", "cluster": "kubeconfig"},
                commit="c" * 40,
                branch="a-branch/with-a-name",
                versions={},
                machine={},
            )
            report.write(run.report)
            run.ledger.touch()
            archive.record(report)
    return folder


def _stage(name: str) -> StageResult:
    return merge(name, [Check(name=NODE, kind="failed", detail="E   AssertionError: why")], started_at=AT)


def in_terminal(columns: int, *words: str) -> str:
    """Run `kvsync-ci` in a terminal of this width; returns what it shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [sys.executable, "-c", "from deployments.cli import main; main()", *words],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        env={**env, "TERM": "dumb"},
    ) as process:
        os.close(theirs)
        shown = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    assert process.returncode == 0
    return shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # as Linux says that the other end is closed
        return b""


@pytest.mark.parametrize(("command", "columns"), [("list", 80), ("list", 40), ("history", 80)])
def test_ids_of_runs_are_whole(reports: Path, command: str, columns: int) -> None:
    """Neither cut nor folded; at 80 columns, the usual width, no line is longer, nor do reasons take many."""
    lines = in_terminal(columns, command, "--report-dir", str(reports)).splitlines()

    assert [word for line in lines for word in line.split()[:1] if word in RUNS] == sorted(RUNS, reverse=True)
    assert columns < 80 or (max(map(len, lines)) <= 80 and len(lines) <= 20)


@pytest.mark.timeout(20)
def test_a_reason_of_50_kb_is_shown_at_once(tmp_path: Path) -> None:
    """As an earlier version's report may hold; looking for something to highlight took most of a minute."""
    stage = StageResult(name="unit", outcome=Outcome.FAILED, reason="x" * 50_000, started_at=AT)
    run = RunFolder(tmp_path / "run-1")
    Report(
        run="run-1",
        started_at=AT,
        duration_s=1.0,
        command="kvsync-ci run",
        stages=[stage],
        parameters={},
        versions={},
        machine={},
    ).write(run.report)
    run.ledger.touch()

    assert "x" * 50_000 in in_terminal(80, "show", "run-1", "--report-dir", str(tmp_path)).replace("\r\n", "")
