"""A program that runs beside the tests can be paused, stopped and killed, and never outlives them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.processes.program import Program
from kvsync.testing.processes.wait import wait_for

UNTIL_STDIN_ENDS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("bye", flush=True)))
print("up", flush=True)
sys.stdin.read()
"""

PARENT = f"""
import sys, time
from pathlib import Path
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.program import Program
folder = Path(sys.argv[1])
child = Program("child", [sys.executable, "-c", {UNTIL_STDIN_ENDS!r}],
                log=folder / "child.log", ledger=Ledger(folder / "ledger.jsonl"))
while "up" not in child.tail():
    time.sleep(0.01)
if sys.argv[2] == "paused":
    child.pause()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger of its own."""
    return Ledger(tmp_path / "ledger.jsonl")


@pytest.fixture
def program(tmp_path: Path, ledger: Ledger) -> Iterator[Program]:
    """A program that runs until its input ends."""
    argv = [sys.executable, "-c", UNTIL_STDIN_ENDS]
    running = Program("reader", argv, log=tmp_path / "logs" / "reader.log", ledger=ledger)
    wait_for(lambda: "up" in running.tail(), what="the program is up", timeout_s=10)
    yield running
    running.kill()


def test_a_running_program_is_in_the_ledger(program: Program, ledger: Ledger) -> None:
    """Whoever cleans up finds its process; once it is stopped there is nothing to find."""
    (entry,) = leftovers([ledger.path])
    assert (entry.kind, entry.facts["pid"]) == ("process", program.pid)

    program.stop()
    assert not program.is_running
    assert leftovers([ledger.path]) == []


def test_a_paused_program_stands_still_and_can_still_be_stopped(program: Program) -> None:
    """Pausing is seen from outside, resuming too, and a paused program does not hold up the end."""
    program.pause()
    wait_for(lambda: program.is_paused, what="the pause", timeout_s=5)
    program.resume()
    wait_for(lambda: not program.is_paused, what="the end of the pause", timeout_s=5)

    program.pause()
    program.stop()
    assert not program.is_running
    assert "bye" in program.tail()


def test_killing_twice_is_no_error(program: Program) -> None:
    """Who cleans up need not know what a fault did before."""
    program.kill()
    program.kill()
    program.stop()

    assert not program.is_running


@pytest.mark.parametrize("state", ["running", "paused"])
def test_no_program_outlives_the_process_that_started_it(tmp_path: Path, state: str) -> None:
    """When the starter is killed without a chance to clean up, its program ends, even a paused one."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), state], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()

    wait_for(
        lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE,
        what=f"the end of the {state} program",
        timeout_s=5,
    )
