"""Documents are checked by registered schemas."""

from typing import Any

import pytest

ORDER = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "email": {"type": "string", "pattern": "^[^@]+@[^@]+$"},
        "lines": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]},
        },
        "status": {"enum": ["open", "paid"]},
    },
    "required": ["id"],
    "additionalProperties": False,
}


@pytest.fixture
def order(api: Any, subject: str) -> str:
    """Return a subject with the schema of an order."""
    assert api.register(subject, ORDER).status_code == 201
    return subject


def test_a_valid_document(api: Any, order: str) -> None:
    """Has no problems."""
    document = {"id": 1, "email": "a@b", "lines": [{"sku": "x"}], "status": "open"}
    assert api.validate(order, "1.0.0", document).json() == {"valid": True, "problems": []}


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        ({}, "", "'id' is a required property"),
        ({"id": "1"}, "/id", "'1' is not of type 'integer'"),
        ({"id": 0}, "/id", "0 is less than the minimum of 1"),
        ({"id": 1, "email": "a"}, "/email", "'a' does not match '^[^@]+@[^@]+$'"),
        ({"id": 1, "lines": []}, "/lines", "[] should be non-empty"),
        ({"id": 1, "lines": [{}]}, "/lines/0", "'sku' is a required property"),
        ({"id": 1, "status": "lost"}, "/status", "'lost' is not one of ['open', 'paid']"),
        ({"id": 1, "other": 1}, "", "Additional properties are not allowed ('other' was unexpected)"),
        ([], "", "[] is not of type 'object'"),
    ],
)
def test_an_invalid_document(api: Any, order: str, document: Any, path: str, message: str) -> None:
    """Is told where and why; the answer is 200 all the same: the question was answered."""
    answer = api.validate(order, "1.0.0", document)
    assert answer.status_code == 200
    assert answer.json() == {"valid": False, "problems": [{"path": path, "message": message}]}


def test_all_problems_at_once(api: Any, order: str) -> None:
    """A client repairs its document once."""
    problems = api.validate(order, "1.0.0", {"id": 0, "email": "a", "status": 1}).json()["problems"]
    assert [problem["path"] for problem in problems] == ["/email", "/id", "/status"]


def test_a_document_is_checked_by_the_version_that_is_named(api: Any, order: str) -> None:
    """Or by the latest one."""
    schema = {**ORDER, "properties": {**ORDER["properties"], "other": {"type": "integer"}}}
    api.register(order, schema)
    valid = {
        v: api.validate(order, v, {"id": 1, "other": 1}).json()["valid"] for v in ("1.0.0", "1.1.0", "latest")
    }
    assert valid == {"1.0.0": False, "1.1.0": True, "latest": True}


def test_results_are_kept_on_request(api: Any, order: str) -> None:
    """And counted."""
    api.validate(order, "1.0.0", {"id": 1})
    for document in ({"id": 1}, {"id": 2}, {}):
        api.validate(order, "1.0.0", document, keep="true")
    path = f"/subjects/{order}/versions/1.0.0/validations"
    assert api.get(path).json() == {"valid": 2, "invalid": 1}


def test_a_deprecated_version_still_validates(api: Any, order: str) -> None:
    """Its users need time."""
    api.deprecate(order, "1.0.0")
    assert api.validate(order, "1.0.0", {"id": 1}).json()["valid"]


def test_a_deleted_version_does_not_validate(api: Any, order: str) -> None:
    """The answer is 410."""
    api.delete(order, "1.0.0")
    assert api.validate(order, "1.0.0", {"id": 1}).status_code == 410


def test_a_reader_may_validate(api: Any, reader: Any, order: str) -> None:
    """It changes nothing."""
    assert reader.validate(order, "1.0.0", {"id": 1}).json()["valid"]


def test_references_inside_a_schema_are_followed(api: Any, subject: str) -> None:
    """Also those to itself."""
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
    api.register(subject, tree)
    assert api.validate(subject, "1.0.0", {"children": [{"children": []}]}).json()["valid"]
    problems = api.validate(subject, "1.0.0", {"children": [{"children": [1]}]}).json()["problems"]
    assert [problem["path"] for problem in problems] == ["/children/0/children/0"]
