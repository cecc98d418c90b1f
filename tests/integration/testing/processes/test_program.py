"""A program that runs alongside the tests can be paused, stopped and killed, and never outlives them."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.processes.program import Program, ProgramEnded
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
    with suppress(ProgramEnded):
        running.kill()


def test_a_running_program_is_in_the_ledger(program: Program, ledger: Ledger) -> None:
    """A cleanup finds its process; once it is stopped there is nothing to find."""
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


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path, ledger: Ledger) -> Start:
    """Start a Python program and wait until it is up, which it says."""

    def started(code: str, *, may_end: bool = False) -> Program:
        argv = [sys.executable, "-c", f"print('up', flush=True)\n{code}"]
        program = Program("brief", argv, log=tmp_path / "brief.log", ledger=ledger, may_end=may_end)
        wait_for(lambda: "up" in program.tail(), what="the program is up", timeout_s=10)
        return program

    return started


def await_end(program: Program) -> None:
    """Wait until a program has ended."""
    wait_for(lambda: not program.is_running, what="the program ends", timeout_s=10)


ABORT = "import os; print('why', flush=True); os.abort()"


@pytest.mark.parametrize("end", [Program.stop, Program.kill, Program.check], ids=["stop", "kill", "check"])
@pytest.mark.parametrize(("code", "status"), [(ABORT, -6), ("raise SystemExit(0)", 0)], ids=["abort", "0"])
def test_a_program_that_ended_by_itself_is_noticed(
    start: Start, ledger: Ledger, end: Callable[[Program], None], code: str, status: int
) -> None:
    """Ending it raises an error with its exit code and the end of its log; nothing is left of it."""
    program = start(code)
    await_end(program)

    with pytest.raises(ProgramEnded, match=rf"(?s)^brief ended by itself with exit code {status}; .*up"):
        end(program)

    program.stop()  # what was told once is not told again
    assert leftovers([ledger.path]) == []


def test_a_program_may_end_by_itself_when_it_is_done(start: Start) -> None:
    """A program with an end of its own may reach it, and may not fail."""
    done, failed = start("pass", may_end=True), start("raise SystemExit(3)", may_end=True)
    await_end(done)
    await_end(failed)

    done.check()
    done.stop()
    with pytest.raises(ProgramEnded, match="ended by itself with exit code 3"):
        failed.stop()


def test_a_program_that_fails_when_it_is_asked_to_end_is_noticed(start: Start) -> None:
    """What it does last may be what goes wrong."""
    program = start(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\nprint('set', flush=True)\ntime.sleep(60)"
    )
    wait_for(lambda: "set" in program.tail(), what="the handler is there", timeout_s=10)

    with pytest.raises(ProgramEnded, match="was asked to end and did with exit code 1"):
        program.stop()


@pytest.mark.parametrize("end", [Program.stop, Program.kill], ids=["stop", "kill"])
def test_that_a_program_was_killed_explains_its_exit_code(
    start: Start, ledger: Ledger, end: Callable[[Program], None]
) -> None:
    """Whether it was to be killed, or did not end when it was asked to."""
    program = start(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('set', flush=True)\ntime.sleep(60)"
    )
    wait_for(lambda: "set" in program.tail(), what="the handler is there", timeout_s=10)

    end(program)

    assert not program.is_running
    assert leftovers([ledger.path]) == []


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
