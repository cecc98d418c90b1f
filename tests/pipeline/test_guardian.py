"""What a guardian learns from a real Prefect server, and what it has to import for that."""

import json
import os
import subprocess
import sys
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State, StateType

from tests.pipeline.conftest import ROOT

pytestmark = pytest.mark.timeout(180)

STATES = (
    StateType.PENDING,
    StateType.RUNNING,
    StateType.CANCELLING,
    StateType.CANCELLED,
    StateType.CRASHED,
    StateType.COMPLETED,
)

ASKING = """
import json, sys
from uuid import UUID
from tasks.guardian import ask

plainly = [ask(UUID(word)) for word in sys.argv[2:]]
print(json.dumps([plainly, "prefect" in sys.modules, ask(UUID(sys.argv[1]))]))
"""


@flow(name="pipeline")
def nothing() -> None:
    """Do nothing."""


def asked(server: str, absent: UUID, *runs: UUID) -> object:
    """Return what a process believes of runs, whether it imported Prefect, and of one that is not there."""
    argv = [sys.executable, "-c", ASKING, str(absent), *map(str, runs)]
    env = {**os.environ, "PREFECT_API_URL": server}
    return json.loads(subprocess.check_output(argv, env=env, cwd=ROOT, text=True, timeout=100))


def test_what_it_believes_is_asked_without_prefects_client(server: str) -> None:
    """The client costs 1 s of CPU, and each run has a guardian; what is not answered, the client is asked."""
    with SyncPrefectClient(server) as client:
        runs = [client.create_flow_run(nothing, state=State(type=each)).id for each in STATES]

    assert asked(server, uuid4(), *runs) == [
        ["open", "open", "cancelling", "cancelled", "final", "final"],
        False,
        "final",
    ]
