"""The command runner: whatever a command does, it is bounded, recorded and gone afterwards."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from kvsync.testing.processes.ledger import Ledger, leftovers
from kvsync.testing.processes.living import facts_of, find_strays, reap
from kvsync.testing.processes.runner import CommandResult, run
from kvsync.testing.processes.wait import wait_for

IGNORES_SIGNALS = (
    "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; print('up', flush=True);"
    "time.sleep(60)"
)
GRANDCHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"

Run = Callable[..., CommandResult]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    return Ledger(tmp_path / "the-run" / "ledger.jsonl")


@pytest.fixture
def python(tmp_path: Path, ledger: Ledger) -> Run:
    """Run Python code under a limit that no test reaches unless it wants to; its log is `log.txt`."""

    def run_code(code: str, **options: object) -> CommandResult:
        defaults = {"log": tmp_path / "log.txt", "timeout_s": 20, "ledger": ledger, "grace_s": 0.2}
        return run([sys.executable, "-c", code], **{**defaults, **options})  # type: ignore[arg-type]  # options of run

    return run_code


def test_output_reaches_log_callback_and_tail(python: Run, tmp_path: Path) -> None:
    """Both output streams are in the log, line by line in the callback, and in the result's tail."""
    lines: list[str] = []

    result = python(
        "import sys; print('one', flush=True); print('two', file=sys.stderr)", on_line=lines.append
    )

    assert result.exit_code == 0
    assert lines == ["one", "two"]
    assert (tmp_path / "log.txt").read_text() == result.tail == "one\ntwo\n"


def test_lines_arrive_while_the_command_runs(python: Run) -> None:
    """A line is handed over before the command ends."""
    stop = threading.Event()

    result = python(
        "import time; print('go', flush=True); time.sleep(60)", on_line=lambda _: stop.set(), stop=stop
    )

    assert result.stopped
    assert not result.timed_out


def test_a_log_is_continued(python: Run) -> None:
    """A second command appends to the log; its result and its lines are its own."""
    lines: list[str] = []
    python("print('first')")

    assert python("print('second')", on_line=lines.append).tail == "second\n"
    assert lines == ["second"]


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("print('a', end='')", ["a"]),
        ("print()", [""]),
        ("print('a\\r')", ["a"]),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\xfeb')", ["\ufffd\ufffdb"]),
        ("print('x' * 70_000)", ["x" * 65_536, "x" * 4_464]),
        ("pass", []),
    ],
    ids=["no line end", "empty line", "carriage return", "invalid UTF-8", "long line", "no output"],
)
def test_odd_output(python: Run, code: str, lines: list[str]) -> None:
    """Whatever bytes a command prints, they become lines."""
    found: list[str] = []

    python(code, on_line=found.append)

    assert found == lines


def test_endless_output_takes_bounded_memory(python: Run) -> None:
    """A line of 100 MB is handed over in pieces and the result keeps only its end."""
    before = psutil.Process().memory_info().rss
    peak = 0
    received = 0

    def watch(line: str) -> None:
        nonlocal peak, received
        received += len(line)
        peak = max(peak, psutil.Process().memory_info().rss)

    result = python("import sys; [sys.stdout.write('x' * 1_000_000) for _ in range(100)]", on_line=watch)

    assert received == 100_000_000
    assert len(result.tail) == 65_536
    assert peak - before < 50_000_000


@pytest.mark.parametrize("code", ["import time; time.sleep(60)", IGNORES_SIGNALS], ids=["obeys", "ignores"])
def test_time_limit(python: Run, ledger: Ledger, code: str) -> None:
    """A command at its time limit is ended, even when it ignores SIGINT and SIGTERM."""
    result = python(code, timeout_s=0.3)

    assert result.timed_out
    assert result.exit_code != 0
    assert find_strays(ledger.run) == []


def test_stop_gives_time_to_tidy_up(python: Run) -> None:
    """The first signal is SIGINT, so Python commands can run their cleanup."""
    stop = threading.Event()
    # A background job of a shell has SIGINT ignored, and so has what it starts.
    code = (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n print('up', flush=True); time.sleep(60)\nfinally:\n print('tidy')"
    )

    result = python(code, stop=stop, on_line=lambda _: stop.set(), grace_s=5)

    assert result.stopped
    assert "tidy" in result.tail


def test_grandchildren_end_with_the_command(python: Run, ledger: Ledger) -> None:
    """What a command leaves running in its group is killed when it exits."""
    assert python(GRANDCHILD).exit_code == 0
    wait_for(lambda: not find_strays(ledger.run), what="the kernel has ended them", timeout_s=5)


def test_nothing_stays_behind(python: Run, ledger: Ledger) -> None:
    """After a run there is no new thread and the ledger knows that the process is gone."""
    threads = threading.active_count()

    python("print('x')", on_line=lambda _: None)

    assert threading.active_count() == threads
    assert leftovers([ledger.path]) == []


UNMARKED = (
    "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c',"
    " 'import os, signal, time; os.kill(os.getpid(), signal.SIGSTOP); time.sleep(60)'],"
    " env={}, start_new_session=True).pid, flush=True);"
)
"""Starts a process that stops, in a session of its own and without the mark of the run."""


def is_gone(process: psutil.Process) -> bool:
    """Say whether a process has ended; who has to notice that is not our business."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_what_a_killed_command_started_ends_with_it(python: Run) -> None:
    """Also what is stopped and left its group, and so notices nothing."""
    started: list[psutil.Process] = []
    stop = threading.Event()

    def on_line(line: str) -> None:
        if line == "up":
            stop.set()
        else:
            started.append(psutil.Process(int(line)))

    assert python(UNMARKED + IGNORES_SIGNALS, stop=stop, on_line=on_line).stopped
    wait_for(lambda: all(map(is_gone, started)), what="its end", timeout_s=10)
    assert len(started) == 1


def test_what_a_process_in_a_ledger_started_is_reaped_with_it(ledger: Ledger) -> None:
    """It is known by the process that started it alone."""
    with subprocess.Popen(
        [sys.executable, "-c", UNMARKED + "import time; time.sleep(60)"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        started = psutil.Process(int(process.stdout.readline()))
        entry = ledger.created(ledger.intend("process", "it"), **facts_of(process.pid))

        assert reap(entry, grace_s=0.2)
        assert is_gone(started)


@pytest.mark.parametrize("name", ["", "in a box: pytest " + "option " * 100])
def test_a_name_in_the_ledger_fits_a_line(python: Run, ledger: Ledger, name: str) -> None:
    """However long the command is."""
    python("pass" + "#" * 1000, name=name)

    (first, *_) = ledger.path.read_text().splitlines()
    shown = json.loads(first)["name"]
    assert len(shown) <= 120
    assert shown.startswith(name[:20])


def test_a_failing_callback_ends_the_command(python: Run, ledger: Ledger) -> None:
    """An error in the callback reaches the caller, and the command does not outlive it."""

    def fail(line: str) -> None:
        raise RuntimeError(line)

    with pytest.raises(RuntimeError, match="up"):
        python(IGNORES_SIGNALS, on_line=fail)

    assert find_strays(ledger.run) == []
    assert leftovers([ledger.path]) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -9)],
    ids=["exit", "signal"],
)
def test_exit_code(python: Run, code: str, expected: int) -> None:
    """The exit code is the command's; a signal's number is negative."""
    assert python(code).exit_code == expected


def test_a_missing_program(tmp_path: Path, ledger: Ledger) -> None:
    """A program that does not exist ends like in a shell and says so."""
    result = run(["no-such-program"], log=tmp_path / "log.txt", timeout_s=20, ledger=ledger)

    assert result.exit_code == 127
    assert "no-such-program" in result.tail


def test_environment_and_directory(python: Run, tmp_path: Path) -> None:
    """The command has the given variables, the run's mark and the given directory."""
    code = "import os; print(os.environ['A'], os.environ['KVSYNC_RUN'], 'PATH' in os.environ, os.getcwd())"

    assert python(code, env={"A": "b"}, cwd=tmp_path).tail == f"b the-run True {tmp_path}\n"


def test_no_variable_is_in_a_command_line(python: Run, tmp_path: Path) -> None:
    """Everybody on the machine may read command lines; the value may be a token."""
    seen, spy = tmp_path / "seen", tmp_path / "env"
    spy.write_text(f'#!/bin/sh\necho "$@" >> {seen}\nexec /usr/bin/env "$@"\n')
    spy.chmod(0o700)

    result = python(
        "import os; print(os.environ['TOKEN'])",
        environ={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        env={"TOKEN": "s3cr3t"},
    )

    assert result.tail == "s3cr3t\n"
    assert "s3cr3t" not in (seen.read_text() if seen.exists() else "")
