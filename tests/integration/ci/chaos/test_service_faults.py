"""Faults on real services: each is proved to act and to be gone, by requests through a proxy and past it."""

import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from kvsync.ci.chaos.injector import ServiceInjector
from kvsync.ci.cleaning.residue import find
from kvsync.ci.project.reading import parse_project
from kvsync.ci.services.proxied import proxied
from kvsync.ci.services.running import running
from kvsync.ci.services.running_service import RunningService
from kvsync.ci.services.service import NotReady, Surroundings
from kvsync.testing.clusters.local.fault_proxy import FaultProxy
from kvsync.testing.faults.fault import (
    Bandwidth,
    ContainerKill,
    Corruption,
    CpuStress,
    Cut,
    Fault,
    Latency,
    PacketLoss,
    Partition,
    PodFailure,
    PodPause,
    PortsBlocked,
    Restart,
    name_of,
)
from kvsync.testing.faults.holding import active
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import NotRun, Unproven

SERVER = """
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

FORKING = """
import subprocess, sys, threading

def fork():
    while True:
        subprocess.Popen(["sleep", "0.02"]).wait()

for _ in range(4):
    threading.Thread(target=fork, daemon=True).start()
"""

MUTE = """
import socket, sys

server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
held = []
while True:
    held.append(server.accept())
"""

PROJECT = f"""
[services.api]
kind = "process"
command = ["{sys.executable}", "server.py", "{{port}}"]
ready = "{{url}}/"
[services.mute]
kind = "process"
command = ["{sys.executable}", "mute.py", "{{port}}"]
ready = "tcp://{{host}}:{{port}}"
[services.postgres]
kind = "postgres"
[services.redis]
kind = "redis"
[services.s3]
kind = "s3"
[stages.x]
kind = "command"
command = ["x"]
"""

NETWORK: list[Fault] = [
    Latency(pod="", delay_s=0.03),
    Bandwidth(pod="", bytes_per_s=30_000),
    Partition(pod=""),
    Partition(pod="", direction="from"),
    PortsBlocked(pod="", ports=("http",)),
    Corruption(pod="", fraction=1.0),
]

PROCESSES: list[Fault] = [
    ContainerKill(pod=""),
    Restart(pod=""),
    PodFailure(pod=""),
    PodPause(pod=""),
]


class Stage:
    """The services of a stage, behind a proxy, and what happens to them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        (folder / "server.py").write_text(SERVER)
        (folder / "mute.py").write_text(MUTE)
        run_dir = folder / f"run-{secrets.token_hex(4)}"  # processes of other runs are none of ours
        self.around = Surroundings(
            repository=folder,
            logs=run_dir / "logs",
            ledger=Ledger(run_dir / "ledger.jsonl"),
            stop=threading.Event(),
        )
        self.history = History(run_dir / "history" / "x.jsonl", proc="x")
        self.proxy = stack.enter_context(FaultProxy())
        self._stack, self._project = stack, parse_project(PROJECT)

    def start(self, name: str) -> RunningService:
        """Start a service, or skip the test where there is no server of its kind."""
        try:
            found = self._stack.enter_context(
                running(self._project.services, [name], self.around, self.proxy)
            )
        except NotReady:
            raise
        except NotRun as exc:
            pytest.skip(str(exc))
        self.injector = ServiceInjector(found, self.around, lambda: None)
        return found[name]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage without services yet; nothing is left of it."""
    with ExitStack() as stack:
        made = Stage(tmp_path, stack)
        yield made
    assert not find(made.around.ledger.path, marked=[])


def proved(stage: Stage, fault: Fault, name: str) -> tuple[str, str]:
    """Hold a fault for a moment; returns what proved it, and what its end."""
    try:
        with active(on(fault, name), stage.injector, stage.history) as episode:
            pass
    except Unproven as exc:  # which would leave the test out
        pytest.fail(str(exc))
    return episode.proof, episode.absence


def on(fault: Fault, name: str) -> Fault:
    """Return a fault on a service."""
    return replace(fault, pod=name)


def test_every_fault_of_the_network_acts_on_http(stage: Stage) -> None:
    """And is gone afterwards."""
    stage.start("api")

    said = {name_of(fault): proved(stage, fault, "api")[0] for fault in NETWORK}

    assert said["partition"] == "a request is silent for 0.5 s; the way is open to it"
    assert said["ports blocked"] == "a request is refused"
    assert said["corruption"].endswith("pieces of its connections corrupted")


@pytest.mark.parametrize("name", ["postgres", "redis", "s3"])
def test_faults_act_on_each_kind_of_server(stage: Stage, name: str) -> None:
    """Those whose proofs depend on its protocol."""
    stage.start(name)

    for fault in [*NETWORK[:3], PodPause(pod="")]:
        assert all(proved(stage, fault, name)), fault


def test_a_database_that_is_killed_has_what_it_had(stage: Stage) -> None:
    """All of its processes are killed, and it is started again at once."""
    service = stage.start("postgres")
    assert service.server is not None
    with psycopg.connect(service.fields["url"]) as connection:
        connection.execute("CREATE TABLE kept (x int)")
    proved(stage, ContainerKill(pod=""), "postgres")

    with psycopg.connect(service.fields["url"]) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    assert (service.server.starts, service.server.why_ended()) == (2, "")


@pytest.mark.parametrize("fault", PROCESSES, ids=name_of)
@pytest.mark.parametrize("name", ["api", "mute"])
def test_faults_of_processes(stage: Stage, fault: Fault, name: str) -> None:
    """Also of one that says nothing, which is asked for a connection alone."""
    service = stage.start(name)
    assert service.server is not None
    before = service.server.pid

    proof, absence = proved(stage, fault, name)

    assert str(before) in proof
    assert ("a request is answered" if name == "api" else "a connection is accepted") in absence
    assert (service.server.pid == before) is isinstance(fault, PodPause)


def test_a_process_that_starts_others_is_paused_with_them(stage: Stage) -> None:
    """Also with those that have ended, which it cannot see while it is stopped."""
    (stage.around.repository / "server.py").write_text(FORKING + SERVER)
    stage.start("api")

    proof, absence = proved(stage, PodPause(pod=""), "api")

    assert "is stopped, a request is silent" in proof
    assert "a request is answered" in absence


def test_a_reset_needs_a_connection_and_resets_it(stage: Stage) -> None:
    """Which is noticed at its other end."""
    service = stage.start("api")
    with socket.create_connection(service.address) as connection:
        wait_for(lambda: service.listener and service.listener.counters().connections, what="it", timeout_s=5)
        proof, _ = proved(stage, Cut(pod=""), "api")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)

    assert proof.endswith("connections reset")


@pytest.mark.parametrize(
    ("name", "fault", "why"),
    [
        ("mute", Latency(pod="", delay_s=0.1), "mute says nothing by which a fault could be proved; let it"),
        ("api", PacketLoss(pod="", fraction=0.5), "a proxy passes streams on and has no packets to lose"),
    ],
)
def test_what_cannot_be_injected_says_why(stage: Stage, name: str, fault: Fault, why: str) -> None:
    """Before anything is changed."""
    stage.start(name)

    with pytest.raises(NotRun, match=why):
        stage.injector.prepare(on(fault, name))


def test_an_owners_server_has_no_process_to_kill_and_by_tls_no_proxy(stage: Stage) -> None:
    """Both say so, and where it is."""
    lent = RunningService(
        fields={"url": "rediss://db.example/0", "host": "db.example", "port": "6379"}, source="the owner's"
    )
    injector = ServiceInjector({"x": proxied(lent, stage.proxy)}, stage.around, lambda: None)

    with pytest.raises(NotRun, match="the owner's, whose processes are not the pipeline's"):
        injector.prepare(PodPause(pod="x"))
    with pytest.raises(NotRun, match=r"by TLS at db\.example"):
        injector.prepare(PortsBlocked(pod="x", ports=("http",)))


def test_stress_is_beside_it_and_ends(stage: Stage) -> None:
    """Its processes are those of the run."""
    stage.start("api")

    proof, absence = proved(stage, CpuStress(pod="", workers=1, load=0.5), "api")

    assert proof.startswith("1 process uses")
    assert absence == "stress processes: none"
