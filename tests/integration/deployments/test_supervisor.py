"""Services as real processes: kept alive, ended in time, and never left behind."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import psutil
import pytest

from deployments.service.supervisor import SupervisedCommand, Supervisor
from kvsync.ci.run.parameters import REPOSITORY
from kvsync.testing.processes.living import end
from kvsync.testing.processes.wait import wait_for

FOREVER = "import time; print('up', flush=True); time.sleep(3600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}"
WITHIN_S = 30.0


def service(
    tmp_path: Path, program: str, *, parting: signal.Signals = signal.SIGKILL, grace_s: float = 0.5
) -> SupervisedCommand:
    """A service that is a Python program."""
    return SupervisedCommand(
        name="a",
        argv=[sys.executable, "-c", program],
        env={"PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
        log=tmp_path / "logs" / "a.log",
        grace_s=grace_s,
        parting=parting,
    )


@pytest.fixture
def said() -> list[str]:
    """What the supervisor said."""
    return []


@pytest.fixture
def supervisor(said: list[str]) -> Iterator[Supervisor]:
    """A supervisor whose services are ended after the test."""
    supervisor = Supervisor(said.append)
    yield supervisor
    supervisor.stop("a")


def ups(one: SupervisedCommand) -> int:
    """How often a service said that it is up."""
    return one.log.read_text().count("up") if one.log.exists() else 0


def test_a_service_that_dies_is_started_again(
    supervisor: Supervisor, said: list[str], tmp_path: Path
) -> None:
    """A line says how it ended and where to read more."""
    one = service(tmp_path, FOREVER)
    supervisor.start(one)
    supervisor.watch(lambda: ups(one) == 1, pause=Event())
    supervisor.lives["a"].process.kill()
    supervisor.watch(lambda: ups(one) == 2, pause=Event())

    assert said == [f"a ended with SIGKILL and starts again in 0 s; what it said is in {one.log}"]


@pytest.mark.parametrize(
    ("program", "grace_s", "status"),
    [(FOREVER, WITHIN_S, -signal.SIGTERM), (DEAF, 0.5, -signal.SIGKILL)],
    ids=["hears", "deaf"],
)
def test_a_service_is_stopped_politely_or_for_certain(
    supervisor: Supervisor, tmp_path: Path, program: str, grace_s: float, status: int
) -> None:
    """One that does not hear SIGTERM is killed after its grace, and none is started again."""
    one = service(tmp_path, program, grace_s=grace_s)
    supervisor.start(one)
    supervisor.watch(lambda: ups(one) == 1, pause=Event())
    process = supervisor.lives["a"].process
    supervisor.stop("a")

    assert process.returncode == status
    assert supervisor.lives == {}


SUPERVISING = """
import signal, sys
from pathlib import Path
from threading import Event
from deployments.service.supervisor import Supervisor
from tests.integration.deployments.test_supervisor import service
signal.signal(signal.SIGINT, signal.SIG_IGN)
supervisor = Supervisor(print)
supervisor.start(service(Path(sys.argv[1]), sys.argv[2], parting=signal.Signals(int(sys.argv[3]))))
print(supervisor.lives["a"].process.pid, flush=True)
supervisor.watch(lambda: False, pause=Event())
"""
HEARING = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (print('heard', flush=True), "
    f"sys.exit())); {FOREVER}"
)


@pytest.mark.parametrize(
    ("parting", "last"), [(signal.SIGKILL, "up"), (signal.SIGTERM, "heard")], ids=["killed", "told"]
)
def test_a_service_does_not_outlive_its_supervisor(
    tmp_path: Path, parting: signal.Signals, last: str
) -> None:
    """The kernel tells it of the supervisor's death, even by SIGKILL, in the way that it asked for."""
    supervising = subprocess.Popen(
        [sys.executable, "-c", SUPERVISING, str(tmp_path), HEARING, str(int(parting))],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert supervising.stdout
    process = psutil.Process(int(supervising.stdout.readline()))
    try:
        log = tmp_path / "logs" / "a.log"
        wait_for(lambda: log.exists() and "up" in log.read_text(), what="it is up", timeout_s=WITHIN_S)
        supervising.kill()
        supervising.communicate(timeout=WITHIN_S)
        wait_for(lambda: not process.is_running(), what="the service is gone", timeout_s=WITHIN_S)
    finally:
        end([process])

    assert log.read_text().splitlines()[-1] == last


def test_an_ignored_interrupt_is_not_inherited(supervisor: Supervisor, tmp_path: Path) -> None:
    """A shell starts what is in the background with SIGINT ignored, and a worker then would never stop."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        one = service(
            tmp_path, "import signal; print('up', signal.getsignal(signal.SIGINT).__name__, flush=True)"
        )
        supervisor.start(one)
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for(lambda: ups(one) == 1, what="it has answered", timeout_s=WITHIN_S)

    assert one.log.read_text() == "up default_int_handler\n"
