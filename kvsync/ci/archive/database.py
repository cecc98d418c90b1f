"""The database of the archive: SQLite or PostgreSQL, brought up to date when it is opened.

Writers take turns (SQLite: an immediate transaction; PostgreSQL: an advisory lock), and a new
version of the tables is one transaction: several processes may open one new archive at a time. No message
has the password that the URL may hold.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from kvsync.errors import KVSyncError
from kvsync.testing.errors import WaitTimeout
from kvsync.testing.processes.wait import wait_for

FILE = "archive.db"

WAIT_S = 30
"""How long one run waits until another has written; writing takes well under a second."""

NEWEST = "0003"
"""The version of the tables: the last of the migrations."""

LOCK = 7_306_861
"""The key of PostgreSQL's advisory lock: any number that others do not use."""


class ArchiveError(KVSyncError):
    """The archive cannot be opened, read or written; says which one, why, and what to do."""


class Database:
    """Connections to one database."""

    def __init__(self, url: URL) -> None:
        self.name = url.set(query={}).render_as_string(hide_password=True)
        options = [str(value) for option, value in url.query.items() if option != "host"]
        self._secrets = [each for each in (str(url.password or ""), *options) if each]
        self._engine = _engine(url)

    @classmethod
    def open(cls, url: SecretStr | str, folder: Path) -> "Database":
        """Open a database by URL, or `archive.db` in a folder for none, and bring its tables up to date.

        Raises ArchiveError: no such database, no access, or one that a newer kvsync wrote.
        """
        given = url.get_secret_value() if isinstance(url, SecretStr) else url
        if not given:
            _make(folder)
        database = cls(_parse(given) if given else URL.create("sqlite", database=str(folder / FILE)))
        try:
            with database.writing("opened") as connection:
                migrate(connection, database.name)
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Hold a connection, with a transaction that sees one state of the archive."""
        with self._said_plainly("read"), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, what: str = "written") -> Iterator[Connection]:
        """Hold a connection, with a transaction that is the only one to write; it is undone on an error."""
        writer = self._engine.execution_options(writes=True)
        with self._said_plainly(what), writer.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
            yield connection

    @contextmanager
    def _said_plainly(self, what: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, WaitTimeout) as error:
            raise ArchiveError(
                f"the archive {self.name} cannot be {what}: {self._plain(error)}; "
                "mend that, or name another in KVSYNC_CI_ARCHIVE_URL"
            ) from None

    def _plain(self, error: Exception) -> str:
        words = " ".join(str(getattr(error, "orig", None) or error).split())
        for secret in self._secrets:
            words = words.replace(secret, "***")
        return words


def migrate(connection: Connection, name: str) -> None:
    """Bring the tables up to date, in the transaction of the connection."""
    current = _version(connection)
    if current == NEWEST:
        return
    # Imported here, since most archives are up to date.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "kvsync.ci.archive:migrations")
    scripts = ScriptDirectory.from_config(config)
    known = [script.revision for script in scripts.walk_revisions()]
    if current is not None and current not in known:
        raise ArchiveError(
            f"the archive {name} is of version {current}, newer than this kvsync knows ({max(known)}): "
            "install the version that wrote it, or a newer one"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, NEWEST)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("select version_num from alembic_version")).scalar()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArchiveError(f"no archive in {folder}: {error}") from error


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        # SQLAlchemy's message has the URL in it, and the URL may have a password.
        raise ArchiveError(
            "the archive's URL (KVSYNC_CI_ARCHIVE_URL) is none that SQLAlchemy reads; "
            "such as postgresql+psycopg://user:password@host/database"
        ) from None


def _engine(url: URL) -> Engine:
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ArchiveError(f"no archive on {url.get_backend_name()}: use sqlite or postgresql+psycopg")
    try:
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ImportError):
        raise ArchiveError("no driver for the archive's URL: use sqlite or postgresql+psycopg") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # Python's driver would begin transactions by rules of its own, and commit before DDL.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={WAIT_S * 1000}")
    cursor.execute("PRAGMA foreign_keys=ON")
    wait_for(lambda: _logs_ahead(cursor), what="others let go of the new file", timeout_s=WAIT_S)
    cursor.close()


def _logs_ahead(cursor: DBAPICursor) -> bool:
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        # Of several that switch one new file SQLite refuses all but one, whatever its timeout.
        return False
    return True


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later could fail at once instead of waiting its turn.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
