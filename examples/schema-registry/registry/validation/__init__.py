"""Schemas are looked through once, when they are registered; documents are checked by them."""

from registry.validation.documents import problems_of
from registry.validation.schemas import require_schema, subschemas

__all__ = ["problems_of", "require_schema", "subschemas"]
