"""A run's folder with a box in it, in which tests run programs."""

import os
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from kvsync.ci.box.ability import unable, user_inside
from kvsync.ci.box.box import Box, BoxLimits
from kvsync.ci.box.confinement import Confinement
from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.processes.living import find_strays
from kvsync.testing.processes.runner import CommandResult
from kvsync.testing.results.verdicts import NotRun

SMALL = BoxLimits(memory=400 * 1024**2, processes=48, disk=64 * 1024**2, temporary=32 * 1024**2)

ENVIRON = {"PATH": os.environ["PATH"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxed:
    """A run called `name` in a report folder, and a box for its stage `some`."""

    run_dir: Path
    limits: BoxLimits = SMALL
    timeout_s: float = 30.0

    @property
    def workspace(self) -> Path:
        """The files that are tested."""
        return self.run_dir / "workspace"

    @property
    def ledger(self) -> Ledger:
        """What the run has made."""
        return Ledger(self.run_dir / "ledger.jsonl", run=self.run_dir.name)

    @property
    def log(self) -> str:
        """What the program printed."""
        return (self.run_dir / "logs" / "some.log").read_text(errors="replace")

    def run(
        self,
        code: str,
        *,
        words: Sequence[str] = (),
        environ: Mapping[str, str] = ENVIRON,
        stop: threading.Event | None = None,
    ) -> CommandResult:
        """Run a Python program in the box; its words are the run's folder if there are none."""
        (self.workspace / "program.py").write_text(code)
        place = Confinement(
            box=Box(limits=self.limits),
            run_dir=self.run_dir,
            workspace=self.workspace,
            stage="some",
            label="some",
        )
        return place.run(
            [sys.executable, "program.py", *(words or [str(self.run_dir)])],
            log=self.run_dir / "logs" / "some.log",
            timeout_s=self.timeout_s,
            ledger=self.ledger,
            cwd=self.workspace,
            environ=environ,
            stop=stop,
            grace_s=5.0,
        )


@pytest.fixture
def boxed(tmp_path: Path) -> Iterator[Boxed]:
    """A box; afterwards nothing of its run is left but its folder."""
    if why := unable(user_inside()):
        raise NotRun(why)
    boxed = Boxed(run_dir=tmp_path / "reports" / f"run-{os.getpid()}-{tmp_path.name[-12:].strip('_')}")
    boxed.workspace.mkdir(parents=True)
    yield boxed
    assert find_strays(boxed.run_dir.name) == []
    assert leftovers([boxed.ledger.path]) == []
    assert list(boxed.run_dir.glob("box-*")) == []
    shutil.rmtree(boxed.run_dir)
