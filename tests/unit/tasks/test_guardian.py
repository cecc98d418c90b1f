"""What the guardian of a run does about what it sees, and that it does it to real processes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from uuid import uuid4

import psutil
import pytest

from kvsync.ci.run.run import Installation
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.settings import Settings
from kvsync.testing.processes.living import facts_of, lives
from kvsync.testing.processes.wait import wait_for
from tasks.guardian import Belief, Guardian, Leave, Settle, Sight, Stop, Tell, Wait, decide

HERE = Installation(Settings())

GONE = "the command that started the run is gone"
IGNORED = "it had not ended 20 s after its cancellation"


def test_a_guardian_imports_what_settles_a_run_only_when_it_has_to() -> None:
    """Each run has one, and most end by themselves: settings, reports and HTTP take six times as long."""
    script = "import sys, tasks.guardian; print(*sys.modules)"
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)

    assert {"pydantic", "httpx", "kvsync.ci.report.report"} & set(done.stdout.split()) == set()


@pytest.mark.parametrize(
    ("sight", "action"),
    [
        (Sight(flow=True, command=True, settled=False, believed="open"), Wait(5)),
        (Sight(flow=True, command=True, settled=False, believed="away", believed_s=999), Wait(5)),
        (Sight(flow=True, command=True, settled=False, believed="final"), Wait(5)),
        (Sight(flow=True, command=True, settled=True, believed="open"), Wait(5)),
        (Sight(flow=True, command=True, settled=True, believed="final"), Leave()),
        (Sight(flow=True, command=True, settled=False, believed="cancelling", believed_s=20), Wait(5)),
        (Sight(flow=True, command=True, settled=False, believed="cancelling", believed_s=21), Stop(IGNORED)),
        (Sight(flow=True, command=True, settled=False, believed="cancelled", believed_s=21), Stop(IGNORED)),
        (Sight(flow=True, command=False, settled=False, believed="open"), Stop(GONE)),
    ],
)
def test_a_living_flow_is_left_alone_unless_nobody_wants_it(sight: Sight, action: object) -> None:
    """It is stopped when its command is gone, or when its cancellation was not acted upon."""
    assert decide(sight) == action


@pytest.mark.parametrize("believed", ["open", "cancelling", "cancelled", "final", "away"])
def test_cleaning_up_comes_before_the_state(believed: Belief) -> None:
    """The command that started the run settles it, or else we do; only then is Prefect told."""
    assert decide(Sight(flow=False, command=True, settled=False, believed=believed)) == Wait(1)
    assert decide(Sight(flow=False, command=False, settled=False, believed=believed)) == Settle()


@pytest.mark.parametrize(
    ("believed", "dead_s", "action"),
    [
        ("final", 0, Leave()),
        ("cancelled", 0, Leave()),
        ("open", 0, Tell("CRASHED")),
        ("cancelling", 0, Tell("CANCELLED")),
        ("away", 0, Wait(1)),
        ("away", 40, Wait(11)),
        ("away", 500, Wait(30)),
        ("away", 601, Leave("gave up after 601 s: Prefect does not know that the run has ended")),
        ("open", 601, Leave("gave up after 601 s: Prefect does not know that the run has ended")),
    ],
)
def test_prefect_is_told_what_it_does_not_know(believed: Belief, dead_s: float, action: object) -> None:
    """A final state stays; without an answer it is tried again for ten minutes, ever more rarely."""
    assert decide(Sight(flow=False, command=False, settled=True, believed=believed, dead_s=dead_s)) == action


DEAF = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
for line in sys.stdin:
    print(line, end="", flush=True)
"""


@pytest.fixture
def deaf() -> Iterator["subprocess.Popen[str]"]:
    """A process that ignores SIGTERM and echoes lines."""
    with subprocess.Popen([sys.executable, "-c", DEAF], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def test_a_flow_that_does_not_listen_is_killed(tmp_path: Path, deaf: "subprocess.Popen[str]") -> None:
    """It is asked first; a process that merely got the id of the flow later is not touched."""
    assert deaf.stdin is not None
    assert deaf.stdout is not None
    born = psutil.Process(deaf.pid).create_time()
    folder = RunFolder(tmp_path)

    Guardian(folder, uuid4(), deaf.pid, born - 60, lambda: HERE, grace_s=0.05).stop("why")
    deaf.stdin.write("here\n")
    deaf.stdin.flush()
    assert deaf.stdout.readline() == "here\n"
    Guardian(folder, uuid4(), deaf.pid, born, lambda: HERE, grace_s=0.05).stop("why")
    assert not lives(deaf.pid, born)


def test_a_zombie_does_not_live() -> None:
    """A process that ended counts as ended before its parent looks."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        facts = facts_of(process.pid)
        wait_for(lambda: not lives(process.pid, facts["create_time"]), what="it has ended", timeout_s=5)
    assert not lives(process.pid, facts["create_time"])
