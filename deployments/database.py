"""The database of a Prefect server of ours, laid out at once instead of by Prefect's hundred migrations.

These take 3.2 s of CPU time (measured), for the first run in a report folder and the first start of `serve`.
What they end with is kept beside this file for one version of Prefect; with another one Prefect migrates.

    python -m deployments.database > deployments/prefect-VERSION.sql     after an upgrade; a test compares
"""

import sqlite3
import tempfile
from contextlib import closing
from importlib import resources
from importlib.metadata import version
from pathlib import Path

FILE = "prefect.db"
"""In the folder that PREFECT_HOME names."""

LOCKED_S = 30.0
"""How long to wait for another run that lays out the same database."""


def lay_out(home: Path) -> bool:
    """Lay out the database of a home of Prefect unless it has one; returns whether it needs no migration."""
    layout = layout_for(version("prefect"))
    if not layout:
        return False
    home.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(home / FILE, timeout=LOCKED_S, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        if not layout_of(database):
            for statement in layout:
                database.execute(statement)
        database.execute("COMMIT")
        return layout[-1] in layout_of(database)


def layout_for(release: str) -> list[str]:
    """Return the statements that lay out an empty database for a version of Prefect, if any are kept."""
    kept = resources.files(__package__).joinpath(f"prefect-{release}.sql")
    return kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []


def layout_of(database: sqlite3.Connection) -> list[str]:
    """Return the statements that would make this database without its rows; the last one is its revision."""
    objects = database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    made = [" ".join(sql.split()) for (sql,) in objects]
    if not any(statement.startswith("CREATE TABLE alembic_version ") for statement in made):
        return made
    mark = "INSERT INTO alembic_version VALUES ("
    return made + [f"{mark}'{each}')" for (each,) in database.execute("SELECT * FROM alembic_version")]


def migrated() -> list[str]:
    """Return the statements that make what Prefect's own migrations end with."""
    from prefect.server.database import provide_database_interface
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings
    from prefect.utilities.asyncutils import run_coro_as_sync

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{folder}/{FILE}"
        with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: url}):
            run_coro_as_sync(provide_database_interface().create_db())
        with closing(sqlite3.connect(f"{folder}/{FILE}")) as database:
            return layout_of(database)


if __name__ == "__main__":
    print(*migrated(), sep="\n")
