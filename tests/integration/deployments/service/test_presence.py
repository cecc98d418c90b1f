"""Flow runs that have a process here are found, also those that cannot be looked into."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from deployments.service.presence import engines, living, worker_name
from kvsync.testing.processes.living import facts_of

ONE, OTHER = UUID(int=1), UUID(int=2)


@contextmanager
def waiting(*words: str) -> Iterator[int]:
    """A process with these words, which waits."""
    process = subprocess.Popen([sys.executable, *words], stdin=subprocess.PIPE)
    try:
        yield process.pid
    finally:
        process.communicate()


@pytest.fixture
def script(tmp_path: Path) -> str:
    """A program that waits, whatever its words are."""
    path = tmp_path / "waits.py"
    path.write_text("input()\n")
    return str(path)


def test_a_guardian_tells_of_its_flow(tmp_path: Path, script: str) -> None:
    """Only of those of the same home; once the flow's process has ended, the guardian drives the run."""
    home, flows = str(tmp_path / "home"), ExitStack()
    with ExitStack() as stack, flows:
        first = flows.enter_context(waiting(script))
        for flow_run, where in ((ONE, home), (OTHER, str(tmp_path))):
            words = [str(tmp_path), str(flow_run), *map(str, facts_of(first).values()), where]
            stack.enter_context(waiting(script, "3", "tasks.guardian", *words))

        assert living(home) == {ONE}
        assert [engine.pid for engine in engines(home)] == [first]
        flows.close()
        assert living(home) == {ONE}
        assert engines(home) == []

    assert living(home) == set()


STARTS = """
import subprocess, sys
engine = subprocess.Popen([sys.executable, *sys.argv[2:]], stdin=subprocess.PIPE)
print(engine.pid, flush=True)
input()
engine.communicate()
"""


def test_a_flow_that_a_worker_has_just_started_is_one_of_its_home(tmp_path: Path, script: str) -> None:
    """It has no guardian yet, and what it is for is in an environment that cannot be read."""
    words = [f"--name={worker_name(tmp_path)}", script, "-", "prefect.engine"]
    argv = [sys.executable, "-c", STARTS, *words]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout
        engine = int(worker.stdout.readline())

        assert [each.pid for each in engines(str(tmp_path / ".prefect"))] == [engine]
        assert engines(str(tmp_path / "another" / ".prefect")) == []
        worker.communicate("\n")
