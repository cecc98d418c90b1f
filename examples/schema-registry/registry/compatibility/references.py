"""References inside a schema, replaced by what they point to where that has an end."""

from typing import Any

from registry.validation import subschemas
from registry.validation.schemas import target

ANNOTATIONS = frozenset(
    {
        *("$comment", "$defs", "$id", "$schema", "$vocabulary", "contentEncoding", "contentMediaType"),
        *("contentSchema", "default", "definitions", "deprecated", "description", "examples", "format"),
        *("readOnly", "title", "writeOnly"),
    }
)
"""Keywords by which no document is refused (`format` is one of them in this dialect)."""

_VALUES = ("const", "default", "enum", "examples", "$defs", "definitions")
"""Keywords whose values are no schemas that hold here."""

LARGEST = 20_000
"""How many parts a schema may have without references: a few lines can double themselves many times."""


def inlined(schema: Any) -> Any:
    """Return a schema without references, except those that lead back to where they are."""
    return _Inlining(schema).replaced(schema, ()) if refers(schema) else schema


def refers(schema: Any) -> bool:
    """Say whether a schema has references, apart from definitions that nothing uses."""
    if isinstance(schema, dict):
        schema = {word: each for word, each in schema.items() if word not in ("$defs", "definitions")}
    return any("$ref" in part for _, part in subschemas(schema))


class _Inlining:
    """Counts the parts that it makes, and stops replacing when there are too many."""

    def __init__(self, whole: dict[str, Any]) -> None:
        self._whole = whole
        self._parts = 0

    def replaced(self, part: Any, seen: tuple[str, ...]) -> Any:
        """Return a part with its references replaced, except those in `seen`, which are being replaced."""
        self._parts += 1
        if isinstance(part, list):
            return [self.replaced(each, seen) for each in part]
        if not isinstance(part, dict):
            return part
        reference = part.get("$ref")
        if isinstance(reference, str):
            return self._followed(part, reference, seen)
        return {w: each if w in _VALUES else self.replaced(each, seen) for w, each in part.items()}

    def _followed(self, part: dict[str, Any], reference: str, seen: tuple[str, ...]) -> Any:
        if reference in seen or self._parts > LARGEST:
            return part
        found = self.replaced(target(self._whole, reference), (*seen, reference))
        others = {word: each for word, each in part.items() if word != "$ref" and word not in ANNOTATIONS}
        return {"allOf": [found, self.replaced(others, seen)]} if others else found
