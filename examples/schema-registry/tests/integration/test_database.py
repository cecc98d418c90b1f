"""PostgreSQL: what the tables hold and refuse, transactions, queries, and many clients at once."""

import asyncio
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from registry.compatibility import Finding
from registry.core import Key, Record
from registry.errors import BadRequest, LevelFailed
from registry.storage import tables
from registry.storage.postgres import Postgres, connected

pytestmark = pytest.mark.anyio

RECORD = Record(
    id="00000000-0000-4000-8000-000000000001",
    subject="orders",
    version="1.0.0",
    schema={"type": "object"},
    digest="d",
    metadata={"team": "shop", "tags": ["a", "b"]},
)


def numbered(number: int, **fields: Any) -> Record:
    identifier = f"00000000-0000-4000-8000-{number:012d}"
    return replace(RECORD, id=identifier, version=f"1.{number}.0", **fields)


async def added(database: Postgres, *records: Record) -> list[Record]:
    async def work(connection: Any) -> list[Record]:
        for record in records:
            await tables.lock_subject(connection, record.subject)
        return [await tables.insert(connection, record) for record in records]

    return await database.run(work)


async def found(database: Postgres, key: Key = RECORD.key) -> Record | None:
    return await database.run(lambda connection: tables.find(connection, key))


async def test_the_connection_is_to_postgresql_16_or_newer(connection: Any) -> None:
    """The version that the tables are written for."""
    row = await (await connection.execute("SHOW server_version_num")).fetchone()
    assert int(row["server_version_num"]) >= 160_000


async def test_records_are_created_read_updated_and_deleted(database: Postgres) -> None:
    """A whole life, with a revision for each change."""
    (created,) = await added(database, RECORD)
    assert created == replace(RECORD, created_at=created.created_at, updated_at=created.updated_at)
    assert await found(database) == created
    for revision, state in enumerate(("deprecated", "deleted"), start=2):
        changed = await database.run(lambda c, state=state: tables.set_state(c, RECORD.key, state))
        assert (changed.state, changed.revision) == (state, revision)
        assert changed.updated_at > created.updated_at
    assert await found(database, Key("orders", "9.9.9")) is None


async def test_a_version_exists_once(database: Postgres) -> None:
    """The second insert is refused, and so is a second record with an id."""
    await added(database, RECORD)
    for record in (replace(RECORD, id=numbered(7).id), replace(RECORD, version="2.0.0")):
        with pytest.raises(psycopg.errors.UniqueViolation):
            await added(database, record)


async def test_all_versions_of_a_subject_are_found(database: Postgres) -> None:
    """And none of another."""
    await added(database, numbered(1), numbered(2), numbered(3, subject="users"))
    records = await database.run(lambda c: tables.versions_of(c, "orders"))
    assert sorted(record.version for record in records) == ["1.1.0", "1.2.0"]


async def test_findings_of_compatibility_are_kept(database: Postgres) -> None:
    """In the order in which they were made."""
    await added(database, RECORD)
    findings = [Finding("0.9.0", "full_transitive", ()), Finding("0.9.1", "full_transitive", ("/a: no",))]
    await database.run(lambda c: tables.note_findings(c, "orders", "1.0.0", findings))
    assert await database.run(lambda c: tables.findings_of(c, RECORD.key)) == [
        {"against": "0.9.0", "mode": "full_transitive", "problems": []},
        {"against": "0.9.1", "mode": "full_transitive", "problems": ["/a: no"]},
    ]


async def test_results_of_validations_are_kept(database: Postgres) -> None:
    """Counted by what came of them."""
    await added(database, RECORD)
    for problems in ([], [], [{"path": "/a", "message": "m"}]):
        await database.run(lambda c, problems=problems: tables.note_validation(c, RECORD.id, problems))
    assert await database.run(lambda c: tables.validations_of(c, RECORD.id)) == {"valid": 2, "invalid": 1}


async def test_a_transaction_that_fails_leaves_nothing(database: Postgres) -> None:
    """Neither the record nor its subject."""

    async def work(connection: Any) -> None:
        await tables.lock_subject(connection, "orders")
        await tables.insert(connection, RECORD)
        raise LookupError("after all")

    with pytest.raises(LookupError, match="after all"):
        await database.run(work)
    assert await found(database) is None
    assert await database.run(lambda c: tables.subject_mode(c, "orders")) is None


async def test_a_transaction_that_ends_is_seen_by_others(database: Postgres, connection: Any) -> None:
    """And not before its end."""

    async def work(inner: Any) -> int:
        await tables.lock_subject(inner, "orders")
        await tables.insert(inner, RECORD)
        return (await (await connection.execute("SELECT count(*) FROM schemas")).fetchone())["count"]

    assert await database.run(work) == 0
    assert (await (await connection.execute("SELECT count(*) FROM schemas")).fetchone())["count"] == 1


async def test_metadata_are_searched_by_what_they_contain(database: Postgres) -> None:
    """Nested values and lists as in jsonb's @>; deleted records are not found."""
    gone = numbered(3, state="deleted")
    await added(database, numbered(1), numbered(2, metadata={"team": "bank", "tags": []}), gone)

    async def versions(wanted: Any) -> list[str]:
        records = await database.run(lambda c: tables.with_metadata(c, wanted, 10))
        return [record.version for record in records]

    assert await versions({"team": "shop"}) == ["1.1.0"]
    assert await versions({"tags": ["b"]}) == ["1.1.0"]
    assert await versions({}) == ["1.1.0", "1.2.0"]
    assert await versions({"team": "shop", "tags": ["c"]}) == []


@pytest.mark.parametrize(
    "metadata", [{}, {"é": [1.5, None, True]}, {"nested": {"a": {"b": []}}}, {"large": 2**70}]
)
async def test_metadata_come_back_as_they_were(database: Postgres, metadata: dict[str, Any]) -> None:
    """Whatever JSON they are."""
    await added(database, replace(RECORD, metadata=metadata))
    record = await found(database)
    assert record is not None
    assert record.metadata == metadata


async def test_what_cannot_be_stored_is_the_clients_mistake(database: Postgres) -> None:
    """PostgreSQL keeps no NUL in texts."""
    with pytest.raises(BadRequest, match="cannot be stored"):
        await added(database, replace(RECORD, metadata={"a": "\0"}))


async def test_ten_clients_insert_at_once(database: Postgres) -> None:
    """Everything is there afterwards."""
    await asyncio.gather(*(added(database, numbered(n)) for n in range(10)))
    assert len(await database.run(lambda c: tables.versions_of(c, "orders"))) == 10


async def test_a_subject_is_changed_by_one_client_at_a_time(database: Postgres) -> None:
    """Who holds the lock is waited for, so that no decision is made on old versions."""
    seen: list[int] = []

    async def work(connection: Any) -> None:
        await tables.lock_subject(connection, "orders")
        count = len(await tables.versions_of(connection, "orders"))
        seen.append(count)
        await tables.insert(connection, numbered(count))

    await asyncio.gather(*(database.run(work) for _ in range(5)))
    assert seen == [0, 1, 2, 3, 4]


async def test_subjects_are_listed_by_pages(database: Postgres) -> None:
    """Each page begins after the last name of the one before."""
    await added(database, *(numbered(n, subject=f"s{n}") for n in range(7)))
    pages, after = [], ""
    while page := await database.run(lambda c, after=after: tables.subject_names(c, after, 3)):
        pages.append(page)
        after = page[-1]
    assert pages == [["s0", "s1", "s2"], ["s3", "s4", "s5"], ["s6"]]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT * FROM schemas WHERE subject = 's1' AND version = '1.1.0'", "schemas_subject_version_key"),
        ("SELECT * FROM schemas WHERE metadata @> '{\"n\": 1}'", "schemas_metadata"),
        ("SELECT * FROM schemas ORDER BY updated_at DESC LIMIT 1", "schemas_newest"),
        (
            "SELECT * FROM compatibility_checks WHERE subject = 's' AND version = '1'",
            "compatibility_checks_of",
        ),
    ],
    ids=["key", "metadata", "newest", "checks"],
)
async def test_queries_use_their_indexes(database: Postgres, connection: Any, query: str, index: str) -> None:
    """The plan names them; a scan of everything would be as slow as the table is long."""
    await connection.execute("SET enable_seqscan = off; SET enable_sort = off")
    plan = await (await connection.execute(f"EXPLAIN {query}")).fetchall()
    assert index in str(plan)


async def test_hundreds_of_records_are_written_and_read(database: Postgres) -> None:
    """By twenty clients, twenty in each transaction, and all of them are there."""
    await asyncio.gather(*(added(database, *map(numbered, range(n, n + 20))) for n in range(0, 400, 20)))
    records = await database.run(tables.everything)
    assert len({record.version for record in records}) == 400


async def test_tables_can_be_made_by_several_processes_at_once(database: Postgres) -> None:
    """As when all of a deployment start."""
    await asyncio.gather(*(database.run(tables.make_tables) for _ in range(5)))


async def test_the_newest_come_first_for_warming(database: Postgres) -> None:
    """Deleted ones are left out."""
    for number in range(3):
        await added(database, numbered(number))
    await database.run(lambda c: tables.set_state(c, Key("orders", "1.0.0"), "deprecated"))
    await database.run(lambda c: tables.set_state(c, Key("orders", "1.1.0"), "deleted"))
    newest = await database.run(lambda c: tables.newest(c, 2))
    assert [record.version for record in newest] == ["1.0.0", "1.2.0"]


async def test_work_that_takes_too_long_is_given_up(database: Postgres) -> None:
    """The pool makes another connection for the next one."""

    async def sleep(connection: Any) -> None:
        await connection.execute("SELECT pg_sleep(10)")

    with pytest.raises(LevelFailed, match=r"no answer within 0\.1 s"):
        await database.run(sleep, timeout_s=0.1)
    assert await found(database) is None


async def test_a_connection_that_was_cut_is_replaced(database: Postgres, connection: Any) -> None:
    """The next one does not notice."""
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert await found(database) is None


async def test_a_database_that_is_not_there_is_an_error_at_the_start(free_port: int) -> None:
    """Not a service that can do nothing."""
    with pytest.raises(LevelFailed, match="postgres"):
        async with connected(f"postgresql://u:p@127.0.0.1:{free_port}/d", timeout_s=1, start_s=0.5):
            raise AssertionError
