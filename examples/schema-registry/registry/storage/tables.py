"""The tables, and what is asked of them; every function works in the transaction of its connection."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from registry.compatibility import Finding, Mode
from registry.core import Key, Record, State
from registry.json_text import Json, canonical
from registry.storage.postgres import Connection

DEFAULT_MODE: Mode = "backward"

TABLES = """
CREATE TABLE IF NOT EXISTS subjects (
    name text PRIMARY KEY,
    mode text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS schemas (
    id uuid PRIMARY KEY,
    subject text NOT NULL REFERENCES subjects,
    version text NOT NULL,
    schema text NOT NULL,
    digest text NOT NULL,
    state text NOT NULL CHECK (state IN ('active', 'deprecated', 'deleted')),
    metadata jsonb NOT NULL,
    revision integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (subject, version)
);
CREATE INDEX IF NOT EXISTS schemas_metadata ON schemas USING gin (metadata jsonb_path_ops);
CREATE INDEX IF NOT EXISTS schemas_newest ON schemas (updated_at DESC);
CREATE TABLE IF NOT EXISTS compatibility_checks (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject text NOT NULL REFERENCES subjects,
    version text NOT NULL,
    against text NOT NULL,
    mode text NOT NULL,
    problems jsonb NOT NULL,
    checked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS compatibility_checks_of ON compatibility_checks (subject, version);
CREATE TABLE IF NOT EXISTS validations (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_id uuid NOT NULL REFERENCES schemas,
    problems jsonb NOT NULL,
    validated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS validations_of ON validations (schema_id);
CREATE TABLE IF NOT EXISTS unsettled (
    subject text NOT NULL,
    version text NOT NULL,
    PRIMARY KEY (subject, version)
);
"""
"""`unsettled` names the records that other levels may not have as they are here."""

_LOCK = 7_155_201
"""The advisory lock of who makes the tables: several processes may start at once."""

_SELECT = sql.SQL("""
SELECT
    id::text, subject, version, schema, digest, state, metadata, revision,
    extract(epoch FROM created_at)::float8 AS created_at,
    extract(epoch FROM updated_at)::float8 AS updated_at
FROM schemas
""")


async def make_tables(connection: Connection) -> None:
    """Make what is not there yet."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    await connection.execute(TABLES)


async def lock_subject(connection: Connection, name: str) -> Mode:
    """Make a subject if it is new, keep others from changing it, and return its mode."""
    insert = "INSERT INTO subjects (name, mode) VALUES (%s, %s) ON CONFLICT DO NOTHING"
    await connection.execute(insert, (name, DEFAULT_MODE))
    found = await connection.execute("SELECT mode FROM subjects WHERE name = %s FOR UPDATE", (name,))
    row: Any = await found.fetchone()
    mode: Mode = row["mode"]
    return mode


async def subject_mode(connection: Connection, name: str) -> Mode | None:
    """Return the mode of a subject, None if there is no such subject."""
    found = await connection.execute("SELECT mode FROM subjects WHERE name = %s", (name,))
    row: Any = await found.fetchone()
    return row["mode"] if row else None


async def set_subject_mode(connection: Connection, name: str, mode: Mode) -> None:
    """Set the mode of a subject, which is made if it is new."""
    await lock_subject(connection, name)
    await connection.execute("UPDATE subjects SET mode = %s WHERE name = %s", (mode, name))


async def subject_names(connection: Connection, after: str, limit: int) -> list[str]:
    """Return names of subjects in their order, those after a name."""
    found = await connection.execute(
        "SELECT name FROM subjects WHERE name > %s ORDER BY name LIMIT %s", (after, limit)
    )
    return [row["name"] for row in await found.fetchall()]


async def insert(connection: Connection, record: Record) -> Record:
    """Add a record as it is, but for times that are 0, which are now; return it with them."""
    await connection.execute(
        "INSERT INTO schemas"
        " (id, subject, version, schema, digest, state, metadata, revision, created_at, updated_at)"
        " SELECT %s, %s, %s, %s, %s, %s, %s, %s, coalesce(to_timestamp(nullif(%s::float8, 0)), moment),"
        " coalesce(to_timestamp(nullif(%s::float8, 0)), moment) FROM clock_timestamp() AS moment",
        (
            *(record.id, record.subject, record.version, canonical(record.schema), record.digest),
            *(record.state, Jsonb(record.metadata), record.revision, record.created_at, record.updated_at),
        ),
    )
    return _there(await find(connection, record.key))


async def find(connection: Connection, key: Key, *, lock: bool = False) -> Record | None:
    """Return a record, deleted or not; locked, nothing else changes it meanwhile."""
    end = sql.SQL("WHERE subject = %s AND version = %s" + (" FOR UPDATE" if lock else ""))
    return next(iter(await _records(connection, end, key)), None)


async def find_by_id(connection: Connection, identifier: str) -> Record | None:
    """Return the record with an id."""
    return next(iter(await _records(connection, sql.SQL("WHERE id = %s"), (identifier,))), None)


async def versions_of(connection: Connection, subject: str) -> list[Record]:
    """Return all versions of a subject, deleted ones too, in no order."""
    return await _records(connection, sql.SQL("WHERE subject = %s"), (subject,))


async def with_metadata(connection: Connection, wanted: Json, limit: int) -> list[Record]:
    """Return records whose metadata contain this (in the sense of jsonb's @>), deleted ones excepted."""
    end = sql.SQL("WHERE metadata @> %s AND state <> 'deleted' ORDER BY subject, version LIMIT %s")
    return await _records(connection, end, (Jsonb(wanted), limit))


async def newest(connection: Connection, limit: int) -> list[Record]:
    """Return what was changed last, deleted ones excepted."""
    end = sql.SQL("WHERE state <> 'deleted' ORDER BY updated_at DESC LIMIT %s")
    return await _records(connection, end, (limit,))


async def modes(connection: Connection) -> dict[str, Mode]:
    """Return what every subject promises."""
    found = await connection.execute("SELECT name, mode FROM subjects ORDER BY name")
    return {row["name"]: row["mode"] for row in await found.fetchall()}


async def everything(connection: Connection) -> list[Record]:
    """Return all records."""
    return await _records(connection, sql.SQL("ORDER BY subject, created_at"), ())


async def set_state(connection: Connection, key: Key, state: State) -> Record:
    """Give a record another state and the next revision; return it."""
    await connection.execute(
        "UPDATE schemas SET state = %s, revision = revision + 1, updated_at = clock_timestamp()"
        " WHERE subject = %s AND version = %s",
        (state, *key),
    )
    return _there(await find(connection, key))


async def note_findings(
    connection: Connection, subject: str, version: str, findings: Iterable[Finding]
) -> None:
    """Keep what a version was compared with."""
    for finding in findings:
        await connection.execute(
            "INSERT INTO compatibility_checks (subject, version, against, mode, problems)"
            " VALUES (%s, %s, %s, %s, %s)",
            (subject, version, finding.version, finding.mode, Jsonb(list(finding.problems))),
        )


async def findings_of(connection: Connection, key: Key) -> list[dict[str, Json]]:
    """Return what a version was compared with, in the order in which it was."""
    found = await connection.execute(
        "SELECT against, mode, problems FROM compatibility_checks"
        " WHERE subject = %s AND version = %s ORDER BY number",
        key,
    )
    return await found.fetchall()


async def note_validation(connection: Connection, schema_id: str, problems: Sequence[Json]) -> None:
    """Keep the result of a validation."""
    await connection.execute(
        "INSERT INTO validations (schema_id, problems) VALUES (%s, %s)", (schema_id, Jsonb(list(problems)))
    )


async def validations_of(connection: Connection, schema_id: str) -> dict[str, int]:
    """Return how many documents were valid and invalid, of those that were kept."""
    found = await connection.execute(
        "SELECT count(*) FILTER (WHERE problems = '[]') AS valid,"
        " count(*) FILTER (WHERE problems <> '[]') AS invalid FROM validations WHERE schema_id = %s",
        (schema_id,),
    )
    counts: Any = await found.fetchone()
    return dict(counts)


async def mark_unsettled(connection: Connection, key: Key) -> None:
    """Note that the other levels have to be told about a record."""
    await connection.execute("INSERT INTO unsettled VALUES (%s, %s) ON CONFLICT DO NOTHING", key)


async def lock_unsettled(connection: Connection, key: Key) -> bool:
    """Keep others from telling the levels about a record; say whether they have to be told at all."""
    found = await connection.execute(
        "SELECT 1 FROM unsettled WHERE subject = %s AND version = %s FOR UPDATE", key
    )
    return await found.fetchone() is not None


async def mark_settled(connection: Connection, key: Key) -> None:
    """Note that all levels know a record."""
    await connection.execute("DELETE FROM unsettled WHERE subject = %s AND version = %s", key)


async def unsettled(connection: Connection, limit: int) -> list[Key]:
    """Return records that the other levels may not have as they are here."""
    found = await connection.execute("SELECT subject, version FROM unsettled LIMIT %s", (limit,))
    return [Key(row["subject"], row["version"]) for row in await found.fetchall()]


async def _records(connection: Connection, end: sql.SQL, values: Sequence[object]) -> list[Record]:
    found = await connection.execute(_SELECT + end, values)
    return [_record(row) for row in await found.fetchall()]


def _record(row: dict[str, Any]) -> Record:
    return Record(**{**row, "schema": json.loads(row["schema"])})


def _there(record: Record | None) -> Record:
    if record is None:
        raise LookupError("a record that was just written is not there")
    return record
