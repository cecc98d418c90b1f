"""Small stand-ins for docker, kind and kubectl, in a folder that is all the tools can see."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvsync.testing.processes.tools import Tools
from tests.forking import Forking, forking

IMPORTED = (
    *("kvsync.ci.doctor.doctor", "kvsync.ci.provision.cluster_stage", "kvsync.ci.provision.image_trial"),
    *("kvsync.ci.notify.github", "kvsync.ci.run.run", "kvsync.ci.store.s3", "rich.table", "typer"),
)


@pytest.fixture(scope="session")
def fork() -> Iterator[Forking]:
    """Run programs that have imported most of what they import; how wide commands print is seen then."""
    with forking(*IMPORTED) as fork:
        yield fork


class Programs:
    """Shell scripts that answer as a test says, and note how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._calls = folder / "bin", folder / "calls"
        self.folder.mkdir()
        self._calls.touch()
        self.tools = Tools(str(self.folder))

    def __call__(self, name: str, *cases: str) -> None:
        """Install a program; a case is a shell pattern of its arguments, `)`, and what it then does."""
        script = self.folder / name
        known = "".join(f"  {case} ;;\n" for case in cases)
        script.write_text(
            f'#!/bin/sh\ncd {self.folder.parent}\necho "{name} $*" >> calls\ncase "$*" in\n{known}'
            f'  *) echo "{name}: unexpected: $*" >&2; exit 64 ;;\nesac\n'
        )
        script.chmod(0o755)

    @property
    def log(self) -> str:
        """All calls so far, one line each."""
        return self._calls.read_text()

    def calls(self, *beginnings: str) -> list[str]:
        """Return the calls so far that begin like this, without their options."""
        words = [
            " ".join(w for w in line.split() if not w.startswith("--")) for line in self.log.splitlines()
        ]
        return [line for line in words if line.startswith(beginnings)]


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """No program at all, until a test installs some."""
    return Programs(tmp_path)
