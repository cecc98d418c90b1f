"""What may be registered: a valid JSON Schema that needs nothing from elsewhere."""

import re
from collections.abc import Iterator
from typing import Any

from jsonschema.exceptions import SchemaError
from jsonschema.validators import Draft202012Validator

from registry.errors import InvalidSchema

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_ONE = (
    *("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
_REFUSED = ("$dynamicRef", "$dynamicAnchor", "$anchor", "$recursiveRef")


def subschemas(schema: Any, at: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a schema that are schemas themselves, it first, with where they are."""
    if not isinstance(schema, dict):
        return
    yield at, schema
    for word, value in schema.items():
        if word in _ONE:
            yield from subschemas(value, f"{at}/{word}")
        elif word in _LISTS and isinstance(value, list):
            for number, each in enumerate(value):
                yield from subschemas(each, f"{at}/{word}/{number}")
        elif word in _MAPS and isinstance(value, dict):
            for name, each in value.items():
                yield from subschemas(each, f"{at}/{word}/{name}")


def require_schema(schema: Any) -> None:
    """Raise InvalidSchema, with every problem, for what cannot be registered."""
    if not isinstance(schema, dict):
        raise InvalidSchema("a schema is a JSON object")
    if (dialect := schema.get("$schema", DIALECT)) != DIALECT:
        raise InvalidSchema(f"the dialect {dialect!r} is not known here; schemas are written in {DIALECT}")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as exc:
        where = "/".join(["#", *map(str, exc.absolute_path)])
        raise InvalidSchema("this is no JSON Schema", [f"{where}: {exc.message}"]) from exc
    if problems := [*_foreign(schema), *_patterns(schema)]:
        raise InvalidSchema("this schema cannot be used here", problems)


def target(schema: dict[str, Any], reference: str) -> Any:
    """Return what `#` or `#/...` points to. Raises LookupError where there is nothing."""
    if reference != "#" and not reference.startswith("#/"):
        raise LookupError(reference)
    found: Any = schema
    for part in reference.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        found = found[int(name)] if isinstance(found, list) and name.isdecimal() else _named(found, name)
    return found


def _named(found: Any, name: str) -> Any:
    if not isinstance(found, dict):
        raise LookupError(name)
    return found[name]


def _foreign(schema: dict[str, Any]) -> Iterator[str]:
    """Yield what would have to be fetched, or found by more than a pointer."""
    for at, part in subschemas(schema):
        for word in _REFUSED:
            if word in part:
                yield f"{at}: {word} is not used here; refer to {{'$ref': '#/$defs/NAME'}}"
        if at != "#" and "$id" in part:
            yield f"{at}: only the whole schema may have an $id"
        if isinstance(reference := part.get("$ref"), str):
            try:
                target(schema, reference)
            except LookupError:
                yield f"{at}: {reference!r} points to nothing in this schema, and no other one is fetched"


def _patterns(schema: dict[str, Any]) -> Iterator[str]:
    for at, part in subschemas(schema):
        for pattern in [part.get("pattern"), *part.get("patternProperties", {})]:
            try:
                re.compile(pattern or "")
            except re.error as exc:
                yield f"{at}: {pattern!r} is not a regular expression: {exc}"
