"""A run whose disk is full: in a namespace, with a small disk of its own."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kvsync.ci.box.ability import unable
from kvsync.testing.results.verdicts import NotRun

ROOT = Path(__file__).resolve().parents[4]

BEGIN = """
    import json
    from datetime import UTC, datetime
    from pathlib import Path
    from kvsync.ci.handover.settlement import settle
    from kvsync.ci.report.report import Report
    from kvsync.ci.run.parameters import Parameters
    from kvsync.ci.run.run import Installation, Run
    from kvsync.testing.results.outcome import Check, merge

    NOW = datetime.now(UTC)
    parameters = Parameters(stages=("unit",), report_dir=Path("{disk}/reports"), run="r")
    run = Run(parameters, Installation.of({{}}))
    def fill():
        with open("{disk}/others", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
    def tell(report):
        kept = Report.read(run.folder.report).reason if run.folder.report.exists() else None
        print(json.dumps([report.verdict.name, report.reason, kept]))
"""

BEGUN = """
    run.folder.logs.mkdir(parents=True)
    run.folder.hold_room()
    parameters.keep_in(run.folder)
"""


def told(tmp_path: Path, text: str) -> tuple[str, str, str | None]:
    """Carry out a program on a disk of 1 MB; returns verdict, reason and the reason in report.json."""
    if why := unable(None):
        raise NotRun(why)
    disk = tmp_path / "disk"
    disk.mkdir()
    program = textwrap.dedent(BEGIN).format(disk=disk) + textwrap.dedent(text)
    box = ["bwrap", "--dev-bind", "/", "/", "--size", str(1024**2), "--tmpfs", str(disk), "--"]
    done = subprocess.run(
        [*box, sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    verdict, reason, kept = json.loads(done.stdout.splitlines()[-1])
    return verdict, reason, kept


FULL = "disk: no space is left in "


@pytest.mark.parametrize(
    "passed",
    ["", "run.folder.save(merge('unit', [Check(name='t.py::t', kind='passed')], started_at=NOW))\n"],
    ids=["cut short", "passed"],
)
def test_a_run_whose_disk_became_full_is_unknown_and_kept(tmp_path: Path, passed: str) -> None:
    """Its report has the room that the run held, so `list` and `show` know it; what passed hides nothing."""
    verdict, reason, kept = told(
        tmp_path, f"{textwrap.dedent(BEGUN)}{passed}fill()\ntell(settle(run, '', 'quiet'))"
    )

    assert (verdict, reason.startswith(FULL), kept) == ("UNKNOWN", True, reason)


def test_a_run_that_cannot_begin_is_unknown(tmp_path: Path) -> None:
    """In one line, with what to do."""
    text = """
        from rich.console import Console
        from deployments.launch import launch
        Path("{disk}").mkdir(exist_ok=True)
        fill()
        tell(launch(run, Console(stderr=True)))
    """.replace("{disk}", str(tmp_path / "disk"))
    verdict, reason, _ = told(tmp_path, text)

    assert (verdict, reason.startswith(FULL), "kvsync-ci prune" in reason) == ("UNKNOWN", True, True)
