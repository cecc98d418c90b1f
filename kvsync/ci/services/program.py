"""A service that is a program of the tested repository."""

import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from kvsync.ci.project.model import ProcessServiceTable
from kvsync.ci.project.relations import PLACEHOLDER, filled
from kvsync.ci.project.services import placeholders, variables
from kvsync.ci.services.greeting import http_hello
from kvsync.ci.services.ports import free_ports
from kvsync.ci.services.running_service import RunningService
from kvsync.ci.services.server import ServerCommand, serving
from kvsync.ci.services.service import HOST, Surroundings
from kvsync.testing.processes.scratch import scratch
from kvsync.testing.results.verdicts import NotRun

ANSWER_S = 5.0
"""How long one answer may take."""

ACCEPTED_BELOW = 400
"""The status of an answer that says it is ready."""


@contextmanager
def program(
    name: str, table: ProcessServiceTable, others: Mapping[str, RunningService], around: Surroundings
) -> Iterator[RunningService]:
    """Run it until left; `others` are what runs already. Raises NotReady.

    It keeps what it has in a folder that lasts as long as the service, over restarts.
    """
    path = Path(tempfile.gettempdir()) / f"kvsync-{secrets.token_hex(6)}"
    with scratch(around.ledger, path) as folder, _program(name, table, others, around, folder) as service:
        yield service


@contextmanager
def _program(
    name: str,
    table: ProcessServiceTable,
    others: Mapping[str, RunningService],
    around: Surroundings,
    folder: Path,
) -> Iterator[RunningService]:
    (port,) = free_ports(1)
    own = {"url": f"http://{HOST}:{port}", "host": HOST, "port": str(port)}
    needed = {other: others[other] for other in others if other in table.needs}
    values, env = {**around.values, **own, "folder": str(folder)}, {"PYTHONPATH": ""}
    for other, service in needed.items():
        values |= placeholders(other, service.fields)
        env |= variables(other, service.fields)
    env |= {variable: filled(text, values) for variable, text in table.environment.items()}
    address = filled(table.ready, values)
    server = ServerCommand(
        argv=[filled(word, values) for word in table.command],
        answer=lambda: answer(address),
        cwd=around.repository / (table.folder or ""),
        environ=around.environ,
        env=env,
    )
    with serving(server, name, around, table.start_timeout) as running:
        source = f"the repository's {table.command[0]}"
        yield RunningService(fields=own, source=source, server=running, hello=_hello(address))


def require_program(name: str, table: ProcessServiceTable, around: Surroundings) -> None:
    """Raise NotRun, with the mend, where its program is not there."""
    word, folder = table.command[0], around.repository / (table.folder or "")
    if PLACEHOLDER.search(word):
        return
    search = around.environ.get("PATH") if around.environ is not None else None
    if not (Path(folder, word).exists() if "/" in word else shutil.which(word, path=search)):
        mend = "install it where the pipeline runs, or with `prepare` in stages.toml"
        raise NotRun(f"service {name!r} cannot be started: there is no {word}; {mend}")


def _hello(address: str) -> Callable[[int], bytes]:
    """Return what asks for an address; of one that is only connected to, nothing is asked."""
    parts = urlsplit(address)
    path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    return lambda size: b"" if parts.scheme == "tcp" else http_hello(parts.netloc, path, size)


def answer(address: str) -> str:
    """Say why what is at an address is not ready, "" if it is; a connection is enough for `tcp://`."""
    parts = urlsplit(address)
    try:
        if parts.scheme == "tcp":
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=ANSWER_S).close()
            return ""
        # Loading certificates takes 25 ms of CPU, and it is asked ten times a second.
        tls = parts.scheme == "https"
        status = httpx.get(address, timeout=ANSWER_S, trust_env=False, verify=tls).status_code
    except (OSError, httpx.HTTPError) as exc:
        return f"{address}: {exc or type(exc).__name__}"
    return "" if status < ACCEPTED_BELOW else f"{address} answers with status {status}"
