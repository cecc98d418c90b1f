"""Five properties of compatibility."""

from typing import Any

from hypothesis import assume, event, given
from hypothesis import strategies as st
from jsonschema.validators import Draft202012Validator

from registry.compatibility import MODES, Mode, check, problems
from tests.property.strategies import OBJECTS, SCHEMAS, VALUES, only_named

KINDS = ("string", "integer", "number", "boolean", "null", "array", "object")


def is_compatible(new: Any, old: Any, mode: Mode) -> bool:
    return not any(finding.problems for finding in check(new, [("1.0.0", old)], mode))


@given(SCHEMAS, st.sampled_from(MODES))
def test_a_schema_is_compatible_with_itself(schema: Any, mode: Mode) -> None:
    """Reflexivity, in every mode."""
    assert is_compatible(schema, schema, mode)


@given(st.data())
def test_what_is_called_compatible_can_be_read(data: st.DataObject) -> None:
    """Backward compatibility: a document of the old version is valid by the new one."""
    old = data.draw(SCHEMAS)
    new = data.draw(st.just(old).map(_loosened) | SCHEMAS)
    found = problems(old, new)
    event("compatible" if not found else "breaking")
    assume(not found)
    reads, writes = Draft202012Validator(new), Draft202012Validator(old)
    for value in data.draw(st.lists(VALUES, min_size=5, max_size=15)):
        if writes.is_valid(value) and only_named(value, old):
            event("a document of it")
            assert reads.is_valid(value), value


@given(OBJECTS, st.sampled_from("abcd"))
def test_a_field_that_is_removed_breaks(schema: Any, name: str) -> None:
    """Who closes an object cannot read a field that it had; who needs a field cannot do without it."""
    schema = {**schema, "properties": {**schema["properties"], name: {"type": "string"}}, "required": [name]}
    fields = {other: each for other, each in schema["properties"].items() if other != name}
    removed = {**schema, "properties": fields, "required": [], "additionalProperties": False}
    assert not is_compatible(removed, schema, "backward")
    assert not is_compatible(removed, schema, "forward")


@given(SCHEMAS, SCHEMAS)
def test_full_compatibility_goes_both_ways(first: Any, second: Any) -> None:
    """Commutativity: and backward of one is forward of the other."""
    assert is_compatible(first, second, "full") == is_compatible(second, first, "full")
    assert is_compatible(first, second, "backward") == is_compatible(second, first, "forward")


@given(st.sets(st.sampled_from(KINDS), min_size=2), st.data())
def test_a_type_that_is_narrowed_breaks(kinds: set[str], data: st.DataObject) -> None:
    """Unless only integers are taken out, which are numbers still; widening never does."""
    narrow = data.draw(st.sets(st.sampled_from(sorted(kinds)), min_size=1, max_size=len(kinds) - 1))
    assume(not (kinds - narrow == {"integer"} and "number" in narrow))
    old, new = {"type": sorted(kinds)}, {"type": sorted(narrow)}
    assert not is_compatible(new, old, "backward")
    assert is_compatible(new, old, "forward")


_LESS = ("minimum", "minLength", "minItems", "minProperties")
_MORE = ("maximum", "maxLength", "maxItems", "maxProperties")


def _loosened(schema: Any) -> Any:
    """Return a schema that allows more: its bounds are wider and its duties fewer, at every depth."""
    if not isinstance(schema, dict):
        return schema
    changed = dict(schema)
    for word, value in schema.items():
        if word in _LESS:
            changed[word] = value - 1 if word == "minimum" else max(value - 1, 0)
        elif word in _MORE:
            changed[word] = value + 1
        elif word == "required":
            changed[word] = value[1:]
        elif word == "properties":
            changed[word] = {name: _loosened(each) for name, each in value.items()}
        elif word in ("items", "additionalProperties"):
            changed[word] = _loosened(value)
    return changed
