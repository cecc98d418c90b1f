"""Whether every document that a writer's schema allows is valid by a reader's.

Rules: a schema is a conjunction of keywords, so a document passes if each keyword of the reader is implied by
keywords of the writer. Numbers, lengths, types, required fields, objects and arrays are compared by meaning,
enumerations value by value. Any other keyword has to be the same on both sides: what cannot be compared is
reported and never taken for compatible.

One convention: a writer writes only the fields that its schema names, unless it says `additionalProperties`.
Otherwise no field could ever be added, since an old document might have had it with another type.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from jsonschema.validators import Draft202012Validator
from referencing import Registry

from registry.compatibility.references import ANNOTATIONS, inlined, refers
from registry.json_text import canonical

TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})

_LOWER = {"minLength": "string", "minItems": "array", "minProperties": "object"}
_UPPER = {"maxLength": "string", "maxItems": "array", "maxProperties": "object"}
_COMPARED = frozenset(
    {
        *(
            "type",
            "enum",
            "const",
            "minimum",
            "exclusiveMinimum",
            "maximum",
            "exclusiveMaximum",
            "multipleOf",
        ),
        *("properties", "additionalProperties", "required", "items"),
        *_LOWER,
        *_UPPER,
    }
)
_OF_TYPE = {
    **dict.fromkeys(("contains", "maxContains", "minContains", "prefixItems", "uniqueItems"), "array"),
    **dict.fromkeys(
        ("dependentRequired", "dependentSchemas", "patternProperties", "propertyNames"), "object"
    ),
    "pattern": "string",
}
"""What a keyword applies to that is the same on both sides or reported."""
_WHOLE = ("$ref", "unevaluatedItems", "unevaluatedProperties")
"""Keywords whose meaning depends on more than their own value."""


def problems(writer: Any, reader: Any) -> list[str]:
    """Return why documents of `writer` may not be valid by `reader`; none if all of them are."""
    if canonical(writer) == canonical(reader):
        return []
    writer, reader = inlined(writer), inlined(reader)
    if refers(writer) or refers(reader):
        return ["/: schemas that refer to themselves are only compatible if nothing changed"]
    return list(_compare(writer, reader, ""))


def is_same_contract(one: Any, other: Any) -> bool:
    """Say whether two schemas differ in annotations only, at their tops and below `properties`."""
    return canonical(_contract(one)) == canonical(_contract(other))


def _contract(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    kept = {w: v for w, v in schema.items() if w not in ANNOTATIONS or w in ("$defs", "definitions")}
    if isinstance(kept.get("properties"), dict):
        kept["properties"] = {name: _contract(each) for name, each in kept["properties"].items()}
    return kept


def _compare(writer: Any, reader: Any, at: str) -> Iterator[str]:
    writer = {} if writer is True else writer
    reader = {} if reader is True else reader
    if writer is False or canonical(writer) == canonical(reader):
        return
    if reader is False:
        yield f"{at or '/'}: nothing is allowed here any more"
    elif "enum" in writer or "const" in writer:
        yield from _values(writer, reader, at)
    else:
        lost = _types(writer) - _types(reader)
        if lost:
            yield f"{at or '/'}: {', '.join(sorted(lost))} is not a type of it"
        shared = _types(writer) & _types(reader)
        for problem in _keywords(writer, reader, shared):
            yield f"{at or '/'}: {problem}"
        if "object" in shared:
            yield from _fields(writer, reader, at)
        if "array" in shared:
            yield from _items(writer, reader, at)


def _values(writer: dict[str, Any], reader: dict[str, Any], at: str) -> Iterator[str]:
    """Compare value by value: an enumeration has all its documents in it."""
    values = writer["enum"] if "enum" in writer else [writer["const"]]
    allowed, accepted = _validator(writer), _validator(reader)
    for value in values:
        if allowed.is_valid(value) and not accepted.is_valid(value):
            yield f"{at or '/'}: the value {canonical(value)[:80]} is not allowed"


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema, registry=Registry())


def _types(schema: dict[str, Any]) -> frozenset[str]:
    """Return the types that are allowed; every integer is a number, too."""
    given = schema.get("type", TYPES)
    found = frozenset([given] if isinstance(given, str) else given)
    return found | {"integer"} if "number" in found else found


def _keywords(writer: dict[str, Any], reader: dict[str, Any], shared: frozenset[str]) -> Iterator[str]:
    for word in ("enum", "const"):
        if word in reader:
            yield f"only some values are allowed ({word})"
    if shared & {"number", "integer"}:
        yield from _numbers(writer, reader)
    yield from _sizes(writer, reader, shared)
    for word in sorted(reader.keys() - ANNOTATIONS - _COMPARED):
        kind = _OF_TYPE.get(word)
        if (kind is None or kind in shared) and _differs(word, writer, reader):
            yield f"{word} differs, which cannot be compared"
    if "contains" in reader and writer.get("minContains", 1) != reader.get("minContains", 1):
        yield "minContains differs, which cannot be compared"


def _sizes(writer: dict[str, Any], reader: dict[str, Any], shared: frozenset[str]) -> Iterator[str]:
    for word, kind in _LOWER.items():
        if kind in shared and reader.get(word, 0) > writer.get(word, 0):
            yield f"{word} was {writer.get(word, 0)} and is {reader[word]}"
    for word, kind in _UPPER.items():
        if kind in shared and word in reader and writer.get(word, reader[word] + 1) > reader[word]:
            yield f"{word} was {writer.get(word, 'not set')} and is {reader[word]}"


def _differs(word: str, writer: dict[str, Any], reader: dict[str, Any]) -> bool:
    if word == "uniqueItems" and reader[word] is False:
        return False
    return word in _WHOLE or word not in writer or canonical(writer[word]) != canonical(reader[word])


def _numbers(writer: dict[str, Any], reader: dict[str, Any]) -> Iterator[str]:
    for sign, end in ((1, "Minimum"), (-1, "Maximum")):
        asked, given = _bound(reader, end, sign), _bound(writer, end, sign)
        if asked and (not given or given < asked):
            yield f"the {end.lower()} is narrower"
    if "multipleOf" in reader:
        step, asked_step = writer.get("multipleOf"), _exact(reader["multipleOf"])
        is_whole = asked_step == 1 and _types(writer).isdisjoint({"number"})
        if not is_whole and (step is None or _exact(step) % asked_step):
            yield f"multipleOf was {step or 'not set'} and is {reader['multipleOf']}"


def _bound(schema: dict[str, Any], end: str, sign: int) -> tuple[Fraction, bool] | None:
    """Return the tightest bound and whether it is itself excluded; larger ones are tighter."""
    found = []
    if (value := schema.get(end.lower())) is not None:
        found.append((sign * _exact(value), False))
    if (value := schema.get(f"exclusive{end}")) is not None:
        found.append((sign * _exact(value), True))
    return max(found, default=None)


def _exact(number: float) -> Fraction:
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))


def _items(writer: dict[str, Any], reader: dict[str, Any], at: str) -> Iterator[str]:
    first = [] if "prefixItems" in reader else writer.get("prefixItems", [])
    for written in [*first, writer.get("items", True)]:
        yield from _compare(written, reader.get("items", True), f"{at}/*")


def _fields(writer: dict[str, Any], reader: dict[str, Any], at: str) -> Iterator[str]:
    for name in sorted(set(reader.get("required", ())) - set(writer.get("required", ()))):
        yield f"{at}/{name}: the field became required"
    for name in sorted({**writer.get("properties", {}), **reader.get("properties", {})}):
        written = _field(writer, name, otherwise=False)
        yield from _compare(written, _field(reader, name, otherwise=True), f"{at}/{name}")
    others = [writer.get("additionalProperties", False)]
    if "patternProperties" not in reader:
        others += writer.get("patternProperties", {}).values()
    for written in others:
        yield from _compare(written, reader.get("additionalProperties", True), f"{at}/(others)")


def _field(schema: dict[str, Any], name: str, *, otherwise: bool) -> Any:
    """Return what holds for a field, besides patterns, which are the same on both sides or reported."""
    if name in schema.get("properties", {}):
        return schema["properties"][name]
    if any(re.search(pattern, name) for pattern in schema.get("patternProperties", {})):
        return True
    return schema.get("additionalProperties", otherwise)
