"""What makes a reader unable to read what a writer wrote, kind by kind."""

from typing import Any

import pytest

from registry.compatibility import MODES, Mode, check, is_same_contract, parse_mode, problems
from registry.errors import BadRequest


def obj(required: tuple[str, ...] = (), closed: bool = False, **fields: Any) -> dict[str, Any]:
    """Return the schema of an object."""
    schema: dict[str, Any] = {"type": "object", "properties": fields, "required": list(required)}
    return {**schema, "additionalProperties": False} if closed else schema


TEXT, WHOLE, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
TREE = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
NAMED = {"$ref": "#/$defs/name", "$defs": {"name": TEXT}}

COMPATIBLE = {
    "the same": (obj(a=TEXT), obj(a=TEXT)),
    "an optional field more": (obj(a=TEXT), obj(a=TEXT, b=WHOLE)),
    "a field less that may still come": (obj(a=TEXT, b=WHOLE), obj(a=TEXT)),
    "a duty less": (obj(("a",), a=TEXT), obj(a=TEXT)),
    "integer to number": (WHOLE, NUMBER),
    "a type more": (TEXT, {"type": ["string", "null"]}),
    "a lower minimum": ({**WHOLE, "minimum": 5}, {**WHOLE, "minimum": 3}),
    "an excluded bound that is included": ({**NUMBER, "exclusiveMaximum": 5}, {**NUMBER, "maximum": 5}),
    "a longer text": ({**TEXT, "maxLength": 5}, {**TEXT, "maxLength": 6}),
    "a pattern less": ({**TEXT, "pattern": "^a"}, TEXT),
    "another format, which says nothing": (TEXT, {**TEXT, "format": "date"}),
    "a value more": ({"enum": ["a", "b"]}, {"enum": ["a", "b", "c"]}),
    "values of a type": ({"enum": ["a", 1]}, {"type": ["string", "integer"]}),
    "a constant that is allowed": ({"const": 4}, {**WHOLE, "minimum": 4}),
    "multiples of multiples": ({**WHOLE, "multipleOf": 6}, {**WHOLE, "multipleOf": 3}),
    "items that are read": ({"type": "array", "items": WHOLE}, {"type": "array", "items": NUMBER}),
    "deep down": (obj(a=obj(b=WHOLE)), obj(a=obj(b=NUMBER))),
    "anything": (obj(a=TEXT), True),
    "nothing written": (False, obj(("a",), a=TEXT)),
    "bounds of another type": (TEXT, {**TEXT, "minimum": 4}),
    "a reference and what it means": (NAMED, TEXT),
    "the same recursion": (TREE, TREE),
    "unique items no more": ({"type": "array", "uniqueItems": True}, {"type": "array", "uniqueItems": False}),
    "no field is known": (obj(closed=True), obj(a=TEXT)),
}
BREAKING = {
    "a new duty": (obj(a=TEXT), obj(("a",), a=TEXT), "became required"),
    "a field that is not allowed any more": (obj(a=TEXT, b=WHOLE), obj(closed=True, a=TEXT), "/b: nothing"),
    "another type": (obj(a=TEXT), obj(a=WHOLE), "string is not a type"),
    "number to integer": (NUMBER, WHOLE, "number is not a type"),
    "a type less": ({"type": ["string", "null"]}, TEXT, "null is not a type"),
    "a type where there was none": ({}, TEXT, "array, boolean"),
    "a higher minimum": ({**WHOLE, "minimum": 3}, {**WHOLE, "minimum": 5}, "the minimum is narrower"),
    "an included bound that is excluded": (
        {**NUMBER, "maximum": 5},
        {**NUMBER, "exclusiveMaximum": 5},
        "the maximum is narrower",
    ),
    "a shorter text": ({**TEXT, "maxLength": 6}, {**TEXT, "maxLength": 5}, "maxLength was 6 and is 5"),
    "a longest text": (TEXT, {**TEXT, "maxLength": 5}, "maxLength was not set"),
    "a least length": (TEXT, {**TEXT, "minLength": 1}, "minLength was 0 and is 1"),
    "fewer items": ({"type": "array"}, {"type": "array", "maxItems": 3}, "maxItems"),
    "fewer fields": (obj(a=TEXT), {**obj(a=TEXT), "maxProperties": 0}, "maxProperties"),
    "a pattern": (TEXT, {**TEXT, "pattern": "^a"}, "pattern differs"),
    "a value less": ({"enum": ["a", "b"]}, {"enum": ["a"]}, 'the value "b"'),
    "values only": (TEXT, {"enum": ["a"]}, "only some values"),
    "true is not 1": ({"const": 1}, {"const": True}, "the value 1"),
    "multiples": ({**WHOLE, "multipleOf": 4}, {**WHOLE, "multipleOf": 3}, "multipleOf was 4"),
    "unique items": ({"type": "array"}, {"type": "array", "uniqueItems": True}, "uniqueItems differs"),
    "other items": ({"type": "array", "items": TEXT}, {"type": "array", "items": WHOLE}, "/\\*: string"),
    "items before the others": (
        {"type": "array", "prefixItems": [TEXT], "items": WHOLE},
        {"type": "array", "items": WHOLE},
        "/\\*: string",
    ),
    "deep down": (obj(a=obj(b=TEXT)), obj(a=obj(b=WHOLE)), "/a/b: string"),
    "nothing": (obj(a=TEXT), False, "nothing is allowed"),
    "what cannot be compared": (TEXT, {"anyOf": [TEXT, WHOLE]}, "anyOf differs"),
    "contained as often as before": (
        {"type": "array", "contains": TEXT, "minContains": 0},
        {"type": "array", "contains": TEXT},
        "minContains differs",
    ),
    "fields by pattern": (
        {"type": "object", "patternProperties": {"^x": TEXT}},
        {"type": "object", "additionalProperties": WHOLE},
        "string is not a type",
    ),
    "others of another type": (
        {"type": "object", "additionalProperties": TEXT},
        {"type": "object", "additionalProperties": WHOLE},
        "\\(others\\): string",
    ),
    "what a reference means": (NAMED, {"$ref": "#/$defs/name", "$defs": {"name": WHOLE}}, "string"),
    "a recursion that changed": (TREE, {**TREE, "minProperties": 1}, "refer to themselves"),
    "unevaluated fields": (obj(a=TEXT), {**obj(a=TEXT), "unevaluatedProperties": False}, "unevaluated"),
}


@pytest.mark.parametrize(("writer", "reader"), COMPATIBLE.values(), ids=COMPATIBLE)
def test_compatible(writer: Any, reader: Any) -> None:
    """Every document of the writer is valid for the reader."""
    assert problems(writer, reader) == []


@pytest.mark.parametrize(("writer", "reader", "why"), BREAKING.values(), ids=BREAKING)
def test_breaking(writer: Any, reader: Any, why: str) -> None:
    """The reason says where and what."""
    found = problems(writer, reader)
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(found)


def test_all_problems_are_found_at_once() -> None:
    """A team repairs its schema once, not once for each problem."""
    found = problems(obj(a=TEXT, b=TEXT), obj(("a", "c"), a=WHOLE, b=TEXT, c=TEXT))
    assert found == [
        "/a: the field became required",
        "/c: the field became required",
        "/a: string is not a type of it",
    ]


@pytest.mark.parametrize(
    ("mode", "narrowed", "widened"),
    [("none", 0, 0), ("backward", 1, 0), ("forward", 0, 1), ("full", 1, 1)],
)
def test_modes_ask_in_their_direction(mode: Mode, narrowed: int, widened: int) -> None:
    """Backward: the new one reads the old; forward: the old one reads the new; full: both."""
    assert sum(len(f.problems) for f in check(WHOLE, [("1.0.0", NUMBER)], mode)) == narrowed
    assert sum(len(f.problems) for f in check(NUMBER, [("1.0.0", WHOLE)], mode)) == widened


def test_transitive_modes_ask_about_all_versions() -> None:
    """The others about the last one."""
    earlier = [("1.0.0", TEXT), ("1.1.0", WHOLE)]
    assert [finding.version for finding in check(WHOLE, earlier, "full")] == ["1.1.0"]
    found = check(WHOLE, earlier, "full_transitive")
    assert [(finding.version, bool(finding.problems)) for finding in found] == [
        ("1.0.0", True),
        ("1.1.0", False),
    ]


def test_modes_are_read_by_name() -> None:
    """Another name is refused, and says which there are."""
    assert [parse_mode(mode) for mode in MODES] == list(MODES)
    with pytest.raises(BadRequest, match="backward_transitive"):
        parse_mode("sideways")


def test_annotations_are_no_part_of_the_contract() -> None:
    """Titles and descriptions may change, at any depth."""
    described = obj(a={**TEXT, "description": "d"})
    assert is_same_contract(obj(a=TEXT), {**described, "title": "t"})
    assert not is_same_contract(obj(a=TEXT), obj(a=WHOLE))


def test_a_schema_that_doubles_itself_is_not_spelled_out() -> None:
    """Thirty lines could have a thousand million parts; what is too large counts as not comparable."""
    defs = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}
    bomb = {"$ref": "#/$defs/d0", "$defs": {**defs, "d30": TEXT}}
    assert problems(bomb, {**bomb, "title": "t"}) == [
        "/: schemas that refer to themselves are only compatible if nothing changed"
    ]
