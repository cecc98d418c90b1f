"""The API on real servers: every request that there is, and what it changes."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from registry.api import make_app
from registry.api.operation import Operation
from registry.api.schemas import Schemas
from registry.assembly import Registry
from registry.security import OPEN

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
LARGER = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}
VERSIONS = "/subjects/orders/versions"


@pytest.fixture
async def api(registry: Registry) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of an application on the stage's servers."""
    operation = Operation(registry.tiers, registry.backups, registry.tally)
    app = make_app(Schemas(registry.service), operation, access=OPEN, tally=registry.tally)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://registry", timeout=60) as client:
        yield client


async def registered(api: httpx.AsyncClient, schema: Any = SCHEMA, **fields: Any) -> Any:
    answer = await api.post(VERSIONS, json={"schema": schema, **fields})
    assert answer.status_code == 201
    return answer.json()


async def test_versions_are_registered_read_and_listed(api: httpx.AsyncClient) -> None:
    """By name, as the latest one, by id, and as a list."""
    first, second = await registered(api), await registered(api, LARGER)
    assert (await api.post(VERSIONS, json={"schema": LARGER})).status_code == 200
    assert (await api.get(f"{VERSIONS}/1.0.0")).json() == first
    assert (await api.get(f"{VERSIONS}/latest")).json() == second
    assert (await api.get(f"/schemas/{second['id']}")).json() == second
    listed = (await api.get(VERSIONS)).json()["versions"]
    assert [each["version"] for each in listed] == ["1.0.0", "1.1.0"]
    assert (await api.get("/subjects")).json() == {"subjects": ["orders"], "next": None}
    tag = (await api.get(f"{VERSIONS}/1.0.0")).headers["etag"]
    assert (await api.get(f"{VERSIONS}/1.0.0", headers={"if-none-match": tag})).status_code == 304


async def test_versions_are_deprecated_and_deleted(api: httpx.AsyncClient) -> None:
    """And are gone then."""
    await registered(api)
    deprecated = await api.post(f"{VERSIONS}/1.0.0/deprecate")
    assert deprecated.json()["state"] == "deprecated"
    assert deprecated.headers["deprecation"].startswith("@")
    assert (await api.post(f"{VERSIONS}/1.0.0/deprecate")).json() == deprecated.json()
    assert (await api.delete(f"{VERSIONS}/1.0.0")).status_code == 204
    assert (await api.get(f"{VERSIONS}/1.0.0")).status_code == 410
    assert (await api.get(VERSIONS)).json() == {"versions": []}
    assert len((await api.get(VERSIONS, params={"deleted": "true"})).json()["versions"]) == 1
    assert (await api.get(f"{VERSIONS}/latest")).status_code == 404


async def test_promises_are_set_checked_and_kept(api: httpx.AsyncClient) -> None:
    """A refusal has reasons; what was compared is kept."""
    assert (await api.get("/subjects/orders/compatibility")).status_code == 404
    await api.put("/subjects/orders/compatibility", json={"mode": "full_transitive"})
    assert (await api.get("/subjects/orders/compatibility")).json() == {"mode": "full_transitive"}
    await registered(api)
    await registered(api, {**SCHEMA, "title": "t"})
    wrong = {"type": "object", "properties": {"a": {"type": "integer"}}}
    for version, compatible in (("1.1.0", False), ("", False), ("2.0.0", True), ("0.1.0", True)):
        body = {"schema": wrong, **({"version": version} if version else {})}
        answer = (await api.post("/subjects/orders/check", json=body)).json()
        assert answer["compatible"] == compatible
        assert bool(answer["problems"]) != compatible
    assert (await api.post(VERSIONS, json={"schema": wrong, "version": "1.1.0"})).status_code == 409
    checks = (await api.get(f"{VERSIONS}/1.0.1/checks")).json()["checks"]
    assert [(each["against"], each["problems"]) for each in checks] == [("1.0.0", [])]


async def test_documents_are_validated_and_counted(api: httpx.AsyncClient) -> None:
    """Where that is asked for."""
    await registered(api)
    for document, valid in (({"a": "x"}, True), ({"a": 1}, False)):
        answer = await api.post(f"{VERSIONS}/1.0.0/validate?keep=true", json={"document": document})
        assert answer.json()["valid"] == valid
    assert (await api.get(f"{VERSIONS}/1.0.0/validations")).json() == {"valid": 1, "invalid": 1}


async def test_metadata_are_searched(api: httpx.AsyncClient) -> None:
    """By what they contain."""
    await registered(api, metadata={"team": "shop"})
    for team, count in (("shop", 1), ("bank", 0)):
        found = (await api.get("/schemas", params={"metadata": f'{{"team": "{team}"}}'})).json()
        assert len(found["schemas"]) == count


async def test_what_is_not_there(api: httpx.AsyncClient) -> None:
    """404, and 400 for an id that is none."""
    for path in (VERSIONS, f"{VERSIONS}/1.0.0", f"{VERSIONS}/latest", "/schemas/" + "0" * 32):
        assert (await api.get(path)).status_code == 404
    assert (await api.post(f"{VERSIONS}/1.0.0/deprecate")).status_code == 404
    assert (await api.get("/schemas/x")).status_code == 400


async def test_backups_are_made_and_restored(
    api: httpx.AsyncClient, database: Any, s3: Any, bucket: str
) -> None:
    """All of it, or nothing."""
    await registered(api)
    assert (await api.post("/admin/backups/one")).json() == {"records": 1}

    async def lose(connection: Any) -> None:
        await connection.execute("TRUNCATE subjects, schemas, compatibility_checks, validations, unsettled")

    await database.run(lose)
    assert (await api.post("/admin/backups/one/restore")).json() == {"added": 1}
    assert (await api.post("/admin/settle")).json() == {"settled": 1}
    assert (await api.post("/admin/backups/one/restore")).json() == {"added": 0}
    assert (await api.post("/admin/backups/two/restore")).status_code == 404
    assert (await api.post("/admin/backups/a.b")).status_code == 400
    s3.put_object(Bucket=bucket, Key="backups/one.jsonl", Body=b"damaged")
    assert (await api.post("/admin/backups/one/restore")).status_code == 409


async def test_operators_see_and_empty_levels(api: httpx.AsyncClient) -> None:
    """The database is none of those that can be emptied."""
    assert (await api.get("/healthz")).json() == {"status": "alive"}
    assert (await api.get("/readyz")).json() == {"status": "ready"}
    await registered(api)
    assert (await api.post("/admin/purge", json={"levels": ["memory", "redis", "s3"]})).status_code == 204
    assert (await api.post("/admin/purge", json={"levels": ["postgres"]})).status_code == 400
    assert (await api.get(f"{VERSIONS}/1.0.0")).status_code == 200
    stats = (await api.get("/stats")).json()
    assert stats["levels"]["postgres"]["hit"] == 1
    assert set(stats["breakers"].values()) == {"closed"}
    assert "registry_request_seconds" in (await api.get("/metrics")).text
