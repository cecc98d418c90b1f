"""Which schemas may be registered, and what documents are told."""

from typing import Any

import pytest

from registry.errors import InvalidSchema
from registry.json_text import canonical
from registry.validation import problems_of, require_schema, subschemas

REFUSED = {
    "no object": ([], "a JSON object"),
    "a boolean": (True, "a JSON object"),
    "an unknown type": ({"type": "text"}, "#/type"),
    "properties that are a list": ({"properties": []}, "#/properties"),
    "a negative length": ({"minLength": -1}, "#/minLength"),
    "another dialect": ({"$schema": "http://json-schema.org/draft-04/schema#"}, "dialect"),
    "a reference to elsewhere": ({"$ref": "https://example.com/a.json"}, "no other one is fetched"),
    "a reference to a file": ({"items": {"$ref": "file:///etc/passwd"}}, "no other one is fetched"),
    "a reference to nothing": ({"$ref": "#/$defs/a"}, "points to nothing"),
    "a reference through a text": ({"title": "t", "$ref": "#/title/x"}, "points to nothing"),
    "an anchor": ({"$defs": {"a": {"$anchor": "b"}}}, r"\$anchor is not used"),
    "an id inside": ({"properties": {"a": {"$id": "https://example.com/b"}}}, "only the whole schema"),
    "a pattern that is none": ({"pattern": "("}, "regular expression|regex"),
}


@pytest.mark.parametrize(("schema", "why"), REFUSED.values(), ids=REFUSED)
def test_these_cannot_be_registered(schema: Any, why: str) -> None:
    """Each refusal says where and why."""
    with pytest.raises(InvalidSchema) as caught:
        require_schema(schema)
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(f"{caught.value} {caught.value.problems}")


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": {"$ref": {"type": "string"}, "$id": {}}},
        {"$id": "https://example.com/a", "$ref": "#/$defs/a~1b", "$defs": {"a/b": {}}},
        {"enum": [{"$ref": "nowhere"}]},
        {"prefixItems": [{"type": "string"}], "items": {"$ref": "#/prefixItems/0"}},
    ],
)
def test_these_can_be_registered(schema: Any) -> None:
    """Names of fields and values may look like keywords."""
    require_schema(schema)


def test_subschemas_are_found_where_they_can_be() -> None:
    """In keywords with one, with a list and with a map of them."""
    schema = {"items": {"not": {}}, "anyOf": [{}, True], "properties": {"a": {}}, "const": {"items": {}}}
    assert [at for at, _ in subschemas(schema)] == [
        "#",
        "#/items",
        "#/items/not",
        "#/anyOf/0",
        "#/properties/a",
    ]


def test_all_problems_of_a_document_are_told() -> None:
    """Sorted by where they are."""
    schema = {
        "type": "object",
        "properties": {"b": {"minimum": 3}, "a": {"type": "string"}},
        "required": ["c"],
    }
    found = problems_of({"a": 1, "b": 2}, canonical(schema))
    assert [problem["path"] for problem in found] == ["", "/a", "/b"]
    assert found[0]["message"] == "'c' is a required property"


def test_a_document_with_countless_problems_gets_a_hundred() -> None:
    """The answer stays small."""
    assert len(problems_of(list(range(1000)), '{"items":{"type":"string"}}')) == 100


def test_a_schema_that_refers_to_itself_without_end_is_an_error() -> None:
    """Not a crash."""
    with pytest.raises(InvalidSchema, match="without end"):
        problems_of(1, '{"$ref":"#"}')
