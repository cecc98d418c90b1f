"""The database of a Prefect server, laid out at once."""

import sqlite3
from collections import Counter
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from deployments.database import FILE, lay_out, layout_for, layout_of, migrated


def test_what_is_laid_out_is_what_prefect_migrates_to() -> None:
    """Prefect's migrations end with the same tables and indexes, in any order, and with the same revision.

    If this fails after an upgrade: `python -m deployments.database > deployments/prefect-VERSION.sql`.
    """
    kept, made = layout_for(version("prefect")), migrated()

    assert _parts(kept) == _parts(made)
    assert kept[-1] == made[-1]


def test_a_new_home_gets_a_database_that_needs_no_migration(tmp_path: Path) -> None:
    """It holds what was to be laid out, and the next run leaves it as it is."""
    home = tmp_path / "home"

    assert lay_out(home)
    with closing(sqlite3.connect(home / FILE)) as database:
        assert layout_of(database) == layout_for(version("prefect"))
        database.execute("INSERT INTO flow (name) VALUES ('mine')")
        database.commit()
        assert lay_out(home)
        assert database.execute("SELECT name FROM flow").fetchall() == [("mine",)]


def test_the_database_of_another_version_is_left_to_prefect(tmp_path: Path) -> None:
    """Of an older one, one that was begun only, and one of a version that nothing is kept for."""
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute("CREATE TABLE other (id INTEGER)")
        assert not lay_out(tmp_path)
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        assert not lay_out(tmp_path)
        database.execute("INSERT INTO alembic_version VALUES ('older')")
        database.commit()
        assert not lay_out(tmp_path)
    assert layout_for("0.0") == []


def _parts(statements: list[str]) -> Counter[tuple[str, ...]]:
    """Constraints of one table stand in any order: Prefect's migrations keep them in sets."""
    return Counter(tuple(sorted(each.removesuffix(" )").split(", "))) for each in statements)
