"""Schemas and documents, drawn at random."""

from typing import Any

from hypothesis import strategies as st

NAMES = st.sampled_from("abcd")

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-20, 20) | st.floats(-20, 20) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def _bounds(low: str, high: str, numbers: Any) -> Any:
    return st.fixed_dictionaries({}, optional={low: numbers, high: numbers})


def _with(kind: Any, *parts: Any) -> Any:
    return st.tuples(*parts).map(
        lambda found: {"type": kind, **{k: v for part in found for k, v in part.items()}}
    )


NUMBERS = _with(
    "number",
    _bounds("minimum", "maximum", st.integers(-5, 5)),
    _bounds("exclusiveMinimum", "exclusiveMaximum", st.integers(-5, 5)),
)
WHOLE = _with(
    "integer",
    _bounds("minimum", "maximum", st.integers(-5, 5)),
    st.fixed_dictionaries({}, optional={"multipleOf": st.sampled_from([1, 2, 3, 4, 6])}),
)
TEXTS = _with(
    "string",
    _bounds("minLength", "maxLength", st.integers(0, 4)),
    st.fixed_dictionaries({}, optional={"pattern": st.sampled_from(["^a", "b$"])}),
)
PLAIN = st.sampled_from(
    [
        {},
        True,
        {"type": "boolean"},
        {"type": "null"},
        {"type": ["string", "null"]},
        {"type": ["integer", "string"]},
    ]
)
ENUMS = st.lists(VALUES, min_size=1, max_size=3).map(lambda values: {"enum": values})


def _objects(inner: Any) -> Any:
    def build(
        fields: dict[str, Any], required: set[str], others: Any, sizes: dict[str, int]
    ) -> dict[str, Any]:
        schema = {"type": "object", "properties": fields, "required": sorted(required & set(fields)), **sizes}
        return schema if others is None else {**schema, "additionalProperties": others}

    return st.builds(
        build,
        st.dictionaries(NAMES, inner, max_size=3),
        st.sets(NAMES, max_size=3),
        st.none() | st.booleans() | inner,
        _bounds("minProperties", "maxProperties", st.integers(0, 3)),
    )


def _arrays(inner: Any) -> Any:
    return _with(
        "array",
        st.fixed_dictionaries(
            {},
            optional={
                "items": inner,
                "uniqueItems": st.booleans(),
                "prefixItems": st.lists(inner, min_size=1, max_size=2),
            },
        ),
        _bounds("minItems", "maxItems", st.integers(0, 3)),
    )


SCHEMAS: Any = st.recursive(
    NUMBERS | WHOLE | TEXTS | PLAIN | ENUMS,
    lambda inner: (
        _objects(inner)
        | _arrays(inner)
        | st.lists(inner, min_size=1, max_size=2).map(lambda each: {"anyOf": each})
    ),
    max_leaves=5,
)

OBJECTS = _objects(SCHEMAS)


def only_named(value: Any, schema: Any) -> bool:
    """Say whether a document has only fields that its schema names, as the registry takes writers to do."""
    if not isinstance(schema, dict):
        return True
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        parts = [*first, *[schema.get("items", True)] * len(value)]
        return all(only_named(each, part) for each, part in zip(value, parts, strict=False))
    if not isinstance(value, dict) or "enum" in schema:
        return True
    fields, others = schema.get("properties", {}), schema.get("additionalProperties")
    if others is None and not set(value) <= set(fields):
        return False
    return all(only_named(each, fields.get(name, others)) for name, each in value.items())
