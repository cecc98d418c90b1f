"""A program that knows nothing of lifelines ends with the input that is held for it."""

import subprocess
import sys

import psutil
import pytest

from kvsync.testing.processes.lifeline import LIFELINE
from kvsync.testing.processes.wait import wait_for

ENDLESS = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"


def _start(*argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LIFELINE, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("end", ["input", "SIGTERM"])
def test_the_program_ends_with_its_lifeline(end: str) -> None:
    """The end of the input, as when its holder is killed, ends the program; so does SIGTERM."""
    with _start(sys.executable, "-c", ENDLESS) as lifeline:
        assert lifeline.stdin is not None
        assert lifeline.stdout is not None
        program = psutil.Process(int(lifeline.stdout.readline()))

        if end == "input":
            lifeline.stdin.close()
        else:
            lifeline.terminate()

        assert lifeline.wait(timeout=10) == 128 + 15
        wait_for(lambda: not program.is_running(), what="the program is gone", timeout_s=10)


def test_a_program_that_ends_by_itself_ends_the_lifeline() -> None:
    """Its exit status is passed on, and a program that does not exist is said to be missing."""
    with _start(sys.executable, "-c", "raise SystemExit(3)") as lifeline:
        assert lifeline.wait(timeout=10) == 3
    with _start("no-such-program") as lifeline:
        assert lifeline.wait(timeout=10) == 127
        assert lifeline.stdout is not None
        assert "cannot start no-such-program" in lifeline.stdout.read()


def test_a_signal_while_the_program_starts_ends_it_too() -> None:
    """The program would be left running if the signal ended only what holds it."""
    for _ in range(10):
        with _start("sh", "-c", "kill -TERM $PPID; exec sleep 60") as lifeline:
            assert lifeline.wait(timeout=10) == 128 + 15
