"""Gateways before the same simulated engines, ours and peers', and what they have used.

What counts is the CPU time of the gateway's processes, as the kernel tells it in steps of 10 ms: so what is
measured has to take a good part of a second of it.
"""

import http.client
import json
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.program import Program
from kvsync.testing.processes.wait import wait_for

MODEL = "m"
HOST = "127.0.0.1"
READY_TIMEOUT_S = 60.0
ASKED_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """Where an engine answers, and where its events and its replays come from."""

    port: int
    event_port: int
    replay_port: int

    @property
    def url(self) -> str:
        """Base of its API."""
        return f"http://{HOST}:{self.port}"

    @property
    def events(self) -> str:
        """Its endpoint of live events."""
        return f"tcp://{HOST}:{self.event_port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningGateway:
    """A gateway or an indexer that runs; `metrics` is where it tells its own."""

    program: Program
    port: int
    metrics: int

    def cpu_s(self) -> float:
        """Return the CPU time that its processes have used."""
        process = psutil.Process(self.program.pid)
        times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
        return sum(each.user + each.system for each in times)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """How a gateway is run: `words` gives its command line, from engines, two free ports, and a folder.

    The first port is for requests and the second for metrics. `ready` is the path that answers once it is
    ready. `holds` asks it whether it knows of the first block of a prompt; it is None for one without events.
    """

    name: str
    words: Callable[[Sequence[EngineAddress], int, int, Path], Sequence[str]]
    ready: str
    holds: Callable[[RunningGateway, Sequence[int]], bool] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayBench:
    """Where gateways and engines run: `folder` is for logs and settings."""

    folder: Path
    ledger: Ledger
    seed: int

    @contextmanager
    def engines(self, count: int) -> Iterator[Sequence[EngineAddress]]:
        """Run simulated engines that take no time to compute. Raises WaitTimeout, ProgramEnded."""
        with ExitStack() as stack:
            addresses = []
            for number in range(count):
                port, events, replays, admin = free_ports(4)
                ports = f"--port={port} --event-port={events} --replay-port={replays} --admin-port={admin}"
                words = f"--name=engine-{number} --model={MODEL} --seed={self.seed} --time-scale=0"
                argv = [sys.executable, "-m", "kvsync", "simulate", *ports.split(), *words.split()]
                argv += ["--capacity=20000", "--exit-with-stdin"]
                stack.enter_context(self._running(f"engine-{number}", argv, port, "/health"))
                addresses.append(EngineAddress(port, events, replays))
            yield addresses

    @contextmanager
    def gateway(self, contender: Contender, engines: Sequence[EngineAddress]) -> Iterator[RunningGateway]:
        """Run a gateway, anew each time. Raises WaitTimeout, and ProgramEnded with its last words."""
        port, metrics = free_ports(2)
        words = contender.words(engines, port, metrics, self.folder)
        with self._running(contender.name, words, port, contender.ready) as program:
            yield RunningGateway(program=program, port=port, metrics=metrics)

    @contextmanager
    def _running(self, name: str, argv: Sequence[str], port: int, ready: str) -> Iterator[Program]:
        program = Program(name, argv, log=self.folder / f"{name}.log", ledger=self.ledger)

        def is_ready() -> bool:
            program.check()
            return answers(port, ready)

        try:
            wait_for(
                is_ready,
                what=f"{name} is ready",
                timeout_s=READY_TIMEOUT_S,
                last_seen=program.tail,
            )
            yield program
            program.check()
        finally:
            program.kill()


def free_ports(count: int) -> list[int]:
    """Return ports on which nothing listens now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def answers(port: int, path: str) -> bool:
    """Say whether something answers well there."""
    try:
        return ask(port, path)[0] == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def ask(port: int, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
    """Send a request, a POST if it has a body; returns status and answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ASKED_TIMEOUT_S)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
