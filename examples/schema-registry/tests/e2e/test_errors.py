"""What is refused, and how."""

from typing import Any

import pytest

SCHEMA = {"type": "object"}


def test_a_body_that_is_no_json(api: Any, subject: str) -> None:
    """400, with where it ends to be JSON."""
    answer = api.client.post(f"/subjects/{subject}/versions", content=b'{"schema": ')
    assert answer.status_code == 400
    assert "cannot be read as JSON" in answer.json()["error"]


def test_a_field_that_is_missing_or_unknown(api: Any, subject: str) -> None:
    """400, and all of them are named."""
    answer = api.post(f"/subjects/{subject}/versions", {"shema": {}, "versoin": "1"})
    assert answer.status_code == 400
    assert answer.json()["problems"] == ["schema is missing", "shema is not known", "versoin is not known"]


@pytest.mark.parametrize(
    "schema", [[], {"type": "text"}, {"$ref": "https://example.com/x"}, {"pattern": "("}]
)
def test_what_is_no_schema(api: Any, subject: str, schema: Any) -> None:
    """422, with the reason."""
    answer = api.register(subject, schema)
    assert answer.status_code == 422
    assert answer.json()["error"]


@pytest.mark.parametrize("version", ["1", "1.0", "v1.0.0", "1.0.0+a", "latest"])
def test_what_is_no_version(api: Any, subject: str, version: str) -> None:
    """400, when it is registered."""
    assert api.register(subject, SCHEMA, version).status_code == 400


@pytest.mark.parametrize("name", ["-a", "a%20b", "%C3%A9", "a" * 129, "a:b"])
def test_what_is_no_subject(api: Any, name: str) -> None:
    """400, before anything is stored under it."""
    assert api.register(name, SCHEMA).status_code == 400


def test_what_is_not_there(api: Any, subject: str) -> None:
    """404, for subjects, versions, ids and backups."""
    api.register(subject, SCHEMA)
    paths = (
        f"/subjects/{subject}-x/versions",
        f"/subjects/{subject}/versions/9.9.9",
        f"/subjects/{subject}-x/versions/latest",
        f"/subjects/{subject}-x/compatibility",
        "/schemas/00000000-0000-4000-8000-000000000000",
        "/nothing",
    )
    assert [api.get(path).status_code for path in paths] == [404] * 6
    assert api.post("/admin/backups/none/restore").status_code == 404


def test_an_id_that_is_none(api: Any) -> None:
    """400."""
    assert api.get("/schemas/1").status_code == 400


def test_a_body_that_is_too_large(api: Any, subject: str) -> None:
    """413, before it is all read."""
    content = b'{"schema": {"title": "' + b"x" * 1_100_000 + b'"}}'
    assert api.client.post(f"/subjects/{subject}/versions", content=content).status_code == 413


def test_a_nest_that_is_too_deep(api: Any, subject: str) -> None:
    """400, and the registry lives on."""
    content = b'{"schema": ' + b'{"items": ' * 5000 + b"{}" + b"}" * 5001
    assert api.client.post(f"/subjects/{subject}/versions", content=content).status_code == 400
    assert api.get("/healthz").status_code == 200


def test_without_a_token(anonymous: Any, subject: str) -> None:
    """401, for everything but health and numbers."""
    assert anonymous.register(subject, SCHEMA).status_code == 401
    assert anonymous.read(subject, "1.0.0").status_code == 401
    paths = ("/healthz", "/readyz", "/metrics", "/stats")
    assert [anonymous.get(path).status_code for path in paths] == [200] * 4


def test_with_a_role_that_may_not(reader: Any, api: Any, subject: str) -> None:
    """403, and nothing has changed."""
    assert reader.register(subject, SCHEMA).status_code == 403
    api.register(subject, SCHEMA)
    assert reader.delete(subject, "1.0.0").status_code == 403
    assert reader.post("/admin/purge", {"levels": ["memory"]}).status_code == 403
    assert reader.read(subject, "1.0.0").json()["state"] == "active"


def test_a_wrong_method(api: Any, subject: str) -> None:
    """405."""
    assert api.client.patch(f"/subjects/{subject}/versions/1.0.0").status_code == 405


@pytest.mark.parametrize("limit", ["0", "x", "1001"])
def test_a_limit_out_of_bounds(api: Any, limit: str) -> None:
    """400."""
    assert api.get("/subjects", limit=limit).status_code == 400


def test_a_level_that_is_none(api: Any) -> None:
    """400; the database cannot be emptied by this."""
    for levels in (["postgres"], "memory", [1]):
        assert api.post("/admin/purge", {"levels": levels}).status_code == 400


def test_metadata_that_cannot_be_stored(api: Any, subject: str) -> None:
    """400, with the reason; the subject's next registration works."""
    assert api.register(subject, SCHEMA, metadata={"a": "\0"}).status_code == 400
    assert api.register(subject, SCHEMA, metadata={"a": "x" * 20_000}).status_code == 400
    assert api.register(subject, SCHEMA).status_code == 201
