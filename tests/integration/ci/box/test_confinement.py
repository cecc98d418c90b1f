"""What runs in a box, and what comes out of it."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from kvsync.ci.box.box import Box
from kvsync.ci.stages.command_stage import CommandStage
from kvsync.ci.stages.pytest_stage import PytestStage
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.processes.living import find_strays
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.measurement import read_measurements
from kvsync.testing.results.outcome import Outcome
from tests.integration.ci.box.conftest import SMALL, Boxed

WITHIN_S = 30.0

WRITES = """
import json, sys
from pathlib import Path
run_dir = Path(sys.argv[1])
(run_dir / "evidence" / "two-0").mkdir()
(run_dir / "evidence" / "two-0" / "gateway.log").write_text("it was ready")
(run_dir / "history").mkdir(exist_ok=True)
line = {"i": 0, "t_mono": 1.5, "wall": 2.5, "proc": "some", "f": "request", "type": "ok"}
(run_dir / "history" / "some.jsonl").write_text(json.dumps(line) + "\\n")
measured = {"name": "a", "metric": "p50", "value": 1.5, "unit": "ms", "samples": 3}
(run_dir / "benchmark.json").write_text(json.dumps({"machine": {}, "measurements": [measured]}))
(run_dir / "logs" / "two").mkdir(parents=True)
(run_dir / "logs" / "two" / "gateway.log").write_text("ready")
entered = {"event": "intend", "id": "1", "wall": 2.5, "kind": "process", "name": "two/pod", "facts": {}}
(run_dir / "ledger.jsonl").write_text(json.dumps(entered) + "\\n")
print("written")
"""

SIGNS = """
import json, signal, sys, time
from pathlib import Path
run_dir = Path(sys.argv[1])
(run_dir / "history").mkdir()
(run_dir / "history" / "some-tests.jsonl").write_text(json.dumps({"event": "started", "nodeid": "a"}) + "\\n")
try:
    time.sleep(60)
except KeyboardInterrupt:
    (run_dir / "evidence" / "last").mkdir()
    (run_dir / "evidence" / "last" / "words.txt").write_text("interrupted")
    sys.exit(2)
"""


def test_what_a_stage_writes_comes_out(boxed: Boxed) -> None:
    """Evidence, histories, measurements and logs; what it printed is in its log already.

    Which programs it started is told, and never taken for something that has to be ended here.
    """
    result = boxed.run(WRITES)

    assert (result.exit_code, result.doubt) == (0, "")
    assert result.tail == "written\n"
    assert (boxed.run_dir / "evidence" / "two-0" / "gateway.log").read_text() == "it was ready"
    assert json.loads((boxed.run_dir / "history" / "some.jsonl").read_text())["t_mono"] == 1.5
    assert [each.value for each in read_measurements(boxed.run_dir / "benchmark.json")] == [1.5]
    assert (boxed.run_dir / "logs" / "two" / "gateway.log").read_text() == "ready"
    assert json.loads((boxed.run_dir / "programs.jsonl").read_text())["name"] == "two/pod"
    assert "two/pod" not in boxed.ledger.path.read_text()


def test_a_second_attempt_adds_to_the_first(boxed: Boxed) -> None:
    """As it does without a box: a name of evidence that is taken is seen to be."""
    boxed.run(WRITES)

    result = boxed.run(WRITES.replace(".mkdir()", ".mkdir(exist_ok=True)").replace('"two-0"', '"two-0-2"'))

    assert result.doubt == ""
    assert sorted(path.name for path in (boxed.run_dir / "evidence").iterdir()) == ["two-0", "two-0-2"]
    assert len((boxed.run_dir / "history" / "some.jsonl").read_text().splitlines()) == 2
    assert len(read_measurements(boxed.run_dir / "benchmark.json")) == 2
    taken = boxed.run('import os, sys; os.mkdir(sys.argv[1] + "/evidence/two-0")')
    assert "FileExistsError" in taken.tail


def test_its_lines_are_seen_while_it_runs_and_an_interruption_reaches_it(boxed: Boxed) -> None:
    """What it then writes comes out, too."""
    stop, journal = threading.Event(), boxed.run_dir / "history" / "some-tests.jsonl"
    results = []
    thread = threading.Thread(target=lambda: results.append(boxed.run(SIGNS, stop=stop)))
    thread.start()
    try:
        wait_for(lambda: journal.exists() and journal.read_text(), what="its first line", timeout_s=WITHIN_S)
    finally:
        stop.set()
        thread.join()

    assert [(result.exit_code, result.stopped, result.doubt) for result in results] == [(2, True, "")]
    assert (boxed.run_dir / "evidence" / "last" / "words.txt").read_text() == "interrupted"


def test_a_signal_that_ended_it_is_told_as_without_a_box(boxed: Boxed) -> None:
    """What is killed blames no test."""
    assert boxed.run("import os; os.kill(os.getpid(), 9)").exit_code == -9


def test_it_dies_with_whoever_started_it(boxed: Boxed) -> None:
    """Also of SIGKILL, and with all that it started."""
    starter = (
        "import sys; from pathlib import Path; from tests.integration.ci.box.conftest import Boxed; "
        f"Boxed(run_dir=Path({str(boxed.run_dir)!r})).run({SIGNS!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", starter], cwd=Path(__file__).parents[4])
    journal = boxed.run_dir / "history" / "some-tests.jsonl"
    try:
        wait_for(lambda: journal.exists() and journal.read_text(), what="its first line", timeout_s=WITHIN_S)
    finally:
        process.kill()
        process.wait()

    wait_for(lambda: find_strays(boxed.run_dir.name) == [], what="the end of the box", timeout_s=WITHIN_S)
    (entry,) = boxed.run_dir.glob("box-*")
    assert str(entry) in boxed.ledger.path.read_text()
    _clear(boxed)


def _clear(boxed: Boxed) -> None:
    """Clean up as `kvsync-ci clean` does."""
    from kvsync.ci.cleaning.residue import clear, find

    assert not any(clear(find(boxed.ledger.path), boxed.ledger).values())


PUT = """
import os, sys
from pathlib import Path
run_dir = Path(sys.argv[1])
def place(name):
    (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
    return run_dir / name
def put(name, text=""):
    place(name).write_text(text)
"""


@pytest.mark.parametrize(
    ("code", "doubt"),
    [
        ("os.symlink('/etc/passwd', place('evidence/x/a'))", "it is a link, or lies behind one"),
        ("os.symlink('/etc', place('logs'))", "it is a link, or lies behind one"),
        ("os.symlink('/etc/passwd', place('history/some-tests.jsonl'))", "it is a link"),
        ("os.mkfifo(place('evidence/x/a'))", "it is not an ordinary file"),
        ("put('evidence/x/b'); os.link(run_dir / 'evidence/x/b', place('logs/x/a'))", "not an ordinary file"),
        ("put('evidence/x/.bashrc')", "a name in there is odd"),
        ("put('parameters.json')", "parameters.json: no stage writes there"),
        ("put('results/some.json')", "no stage writes there"),
        ("put('logs/pipeline.log')", "no stage writes there"),
        ("put('history/a.jsonl', 'no\\n')", "Invalid JSON"),
        ("put('history/some-tests.jsonl', '{}\\n')", "a line about tests is not one"),
        ("put('history/some-tests.jsonl', 'x' * 2**22 + '\\n')", "it is too large"),
        ("put('ledger.jsonl', '{\"event\": \"killed\"}\\n')", "a line of a ledger is not one"),
        ("put('history/b-tests.jsonl')", "it is about another stage"),
        ("put('benchmark.json', '[]')", "what was measured cannot be read"),
        ("put('evidence/x/a'); os.truncate(run_dir / 'evidence/x/a', 2**40)", "too large"),
        ("for n in range(5001): os.mkfifo(place(f'evidence/{n}'))", "one too many"),
        ("put('evidence/1/2/3/4/5/6/7')", "too deep"),
    ],
)
def test_what_the_door_refuses(boxed: Boxed, code: str, doubt: str) -> None:
    """The result is in doubt with the reason, and nothing of it is in the run's folder."""
    result = replace(boxed, limits=replace(SMALL, disk=2**41)).run(PUT + code)

    assert result.exit_code == 0, result.tail
    assert result.doubt.startswith("refused from the box: ")
    assert doubt in result.doubt
    assert [path for path in boxed.run_dir.rglob("*") if path.is_symlink()] == []
    assert {path.name for path in boxed.run_dir.iterdir()} <= {
        *("evidence", "history", "logs", "ledger.jsonl", "programs.jsonl", "workspace"),
    }


def test_the_result_of_a_stage_says_what_was_refused(boxed: Boxed) -> None:
    """It is unknown at best, though all of its tests passed."""
    tests = boxed.workspace / "tests" / "some"
    tests.mkdir(parents=True)
    (tests / "test_it.py").write_text("def test_a(run_dir): (run_dir / 'told').touch()\ndef test_b(): pass\n")
    result = run_safely(PytestStage("some", "tests/some", 60), _context(boxed))

    assert (result.outcome, result.reason) == (
        Outcome.UNKNOWN,
        "refused from the box: told: no stage writes there",
    )
    assert [check.kind for check in result.checks] == ["passed", "passed"]
    assert not (boxed.run_dir / "told").exists()


def test_tests_have_a_temporary_folder_and_those_that_failed_are_repeated(boxed: Boxed) -> None:
    """As without a box, also for the user whom the tests of a pipeline of root's belong to."""
    tests = boxed.workspace / "tests" / "some"
    tests.mkdir(parents=True)
    (tests / "test_it.py").write_text(
        "def test_a(tmp_path): (tmp_path / 'file').touch()\n"
        "def test_b(run_dir): assert (run_dir / 'history' / 'some-2-only.json').exists()\n"
    )
    result = run_safely(PytestStage("some", "tests/some", 60, retries=1), _context(boxed))

    assert [check.kind for check in result.checks] == ["passed", "flaky"]


ORPHANS = '''
import os, signal, subprocess, sys, time
stopped = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
starts = f"""import subprocess, sys
print(subprocess.Popen([sys.executable, '-c', {stopped!r}], process_group=0).pid, flush=True)
input()"""
with subprocess.Popen(
    [sys.executable, "-c", starts], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
) as parent:
    child = int(parent.stdout.readline())
    while " T " not in open(f"/proc/{child}/stat").read():
        time.sleep(0.01)
    parent.kill()
try:
    while True:
        os.kill(child, 0)
        time.sleep(0.01)
except ProcessLookupError:
    print("gone")
'''


def test_stopped_processes_end_with_their_parent_as_outside(boxed: Boxed) -> None:
    """The kernel wakes those whose parent dies, unless the one that takes its place is of their session."""
    assert boxed.run(ORPHANS).tail == "gone\n"


def _context(boxed: Boxed) -> StageContext:
    return StageContext(
        run_dir=boxed.run_dir,
        repository=boxed.workspace,
        ledger=boxed.ledger,
        box=Box(),
        stop=threading.Event(),
    )


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("f.write('what\\n')", "a line about tests is not one: Invalid JSON"),
        ("f.write('x' * 5 * 2**20)", "it is too large"),
        ("f.write('{'); f.flush(); os.kill(os.getpid(), 9)", "pytest ended with SIGKILL (exit status -9)"),
    ],
    ids=["nonsense", "too large", "cut"],
)
def test_a_stage_whose_lines_cannot_be_read_is_unknown(boxed: Boxed, written: str, reason: str) -> None:
    """Its tests may have passed or not; the one that was running is not called a failure."""
    tests = boxed.workspace / "tests" / "some"
    tests.mkdir(parents=True)
    (tests / "test_it.py").write_text(
        "import os\n"
        "def test_a():\n    pass\n"
        "def test_b(request):\n"
        "    f = open(f\"{request.config.getoption('--run-dir')}/history/some-tests.jsonl\", 'a')\n"
        f"    {written}\n"
    )

    result = run_safely(PytestStage("some", "tests/some", 60), _context(boxed))

    assert (result.outcome, [check.kind for check in result.checks]) == (
        Outcome.UNKNOWN,
        ["passed", "inconclusive"],
    )
    assert reason in result.reason


def test_what_a_command_writes_is_read_wherever_it_writes_it(boxed: Boxed) -> None:
    """In the folder that it is given for that, or among the tested files; it starts where it is told to."""
    (boxed.workspace / "inner").mkdir()
    told = "<testsuite tests='1'><testcase classname='m' name='NAME'/></testsuite>"
    script = 'set -e; echo "$0" > r.xml; echo "$1" > {out}/r.xml'
    argv = ["sh", "-c", script, told.replace("NAME", "one"), told.replace("NAME", "two")]
    stage = CommandStage("some", argv, 60, folder="inner", results=("inner/*.xml", "{out}/*.xml"))

    result = run_safely(stage, _context(boxed))

    assert (result.outcome, result.reason) == (Outcome.PASSED, "")
    assert [check.name for check in result.checks] == ["m::one", "m::two"]


def test_a_program_that_the_box_does_not_have_is_not_run(boxed: Boxed) -> None:
    """It may be on the machine all the same, so that the mend says how it gets in."""
    result = run_safely(CommandStage("some", ["no-such-program"], 60), _context(boxed))

    assert result.outcome is Outcome.UNKNOWN
    assert "no-such-program, or what it calls, is not there" in result.reason
    assert "only the system's programs are seen, and what box.readable names" in result.reason


def test_the_project_s_own_interpreter_in_a_box(boxed: Boxed) -> None:
    """It is asked for our plugin in there, too: a contributor may have written it."""
    asked = '#!/bin/sh\necho "$@" >> asked; test ! -e /etc/shadow || exit 9; exit 1\n'
    (boxed.workspace / "tests").mkdir()
    (boxed.workspace / "python").write_text(asked)
    (boxed.workspace / "python").chmod(0o755)

    result = run_safely(PytestStage("some", "tests", 60, python="python"), _context(boxed))

    first, second = (boxed.workspace / "asked").read_text().splitlines()
    assert (first.split()[0], second.split()[:3]) == ("-c", ["-m", "pytest", "tests"])
    assert result.outcome is Outcome.UNKNOWN
    assert "it ended with exit status 1" in result.reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("for _ in range(8): os.fork() or hold(100)\nos.wait()", "of memory; the limit is 0.4 GiB"),
        (
            "for n in 'ab': open(n, 'wb').write(bytes(60 * 2**20))\nhold(0)",
            "of the disk; the limit is 0.1 GiB",
        ),
        ("for _ in range(100): os.mkdir('a'); os.chdir('a')\nhold(0)", "folders more than 64 deep"),
    ],
    ids=["memory", "disk", "depth"],
)
def test_a_box_that_uses_too_much_is_ended(boxed: Boxed, code: str, reason: str) -> None:
    """All of it together, whatever a single process may have."""
    before = "import os, time\ndef hold(mib):\n    kept = b'x' * mib * 2**20\n    time.sleep(60)\n"

    result = boxed.run(before + code)

    assert reason in result.doubt
    assert result.exit_code == -9


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("kept = b'x' * 2**29", "MemoryError"),
        ("while True: os.fork() or time.sleep(60)", "BlockingIOError"),
        ("open('/tmp/a', 'wb').write(b'x' * 2**26)", "No space left"),
        ("open('/dev/shm/a', 'wb').write(b'x' * 2**26)", "No space left"),
        ("open('/dev/a', 'wb')", "Read-only file system"),
        ("open('/a', 'wb')", "Read-only file system"),
        ("os.memfd_create('a')", "Operation not permitted"),
        ("import socket; socket.socket(socket.AF_VSOCK)", "Operation not permitted"),
    ],
)
def test_what_a_single_process_may_have(boxed: Boxed, code: str, said: str) -> None:
    """The kernel refuses it, and the box goes on."""
    result = boxed.run(f"import os, time\n{code}")

    assert said in result.tail
    assert (result.exit_code, result.doubt) == (1, "")


def test_its_processes_are_another_users_where_the_pipeline_is_roots(boxed: Boxed) -> None:
    """Without a capability, and without a way to get one."""
    result = boxed.run("import os; print(os.getuid(), open('/proc/self/status').read())")

    status = dict(line.split(":\t", 1) for line in result.tail.splitlines() if ":\t" in line)
    assert int(result.tail.split()[0]) != 0
    assert {status[name] for name in ("CapPrm", "CapEff", "CapAmb")} == {"0000000000000000"}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_its_network_is_its_own(boxed: Boxed) -> None:
    """Any address of the loopback can be listened on, also one that is taken outside."""
    result = boxed.run(
        "import socket; server = socket.create_server(('127.0.0.9', 4200))\n"
        "socket.create_connection(server.getsockname())\n"
        "print([each[1] for each in socket.if_nameindex()])"
    )

    assert result.tail == "['lo']\n"


def test_the_parent_of_the_box_has_gone_afterwards(boxed: Boxed) -> None:
    """No process of the test's own is left as a child either."""
    before = {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}

    boxed.run("import os; os.fork() or os.setsid() or os.fork() or __import__('time').sleep(60)")

    assert {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)} <= before
