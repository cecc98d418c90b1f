"""JSON, read strictly and written in one form."""

import json
from hashlib import sha256
from typing import Any

from registry.errors import BadRequest

Json = Any
"""What json.loads returns."""

DEEPEST = 64
"""How many arrays and objects may be in each other."""


def canonical(value: Json) -> str:
    """Write JSON so that equal values are equal texts: sorted names, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(schema: Json) -> str:
    """Return the SHA-256 of a schema, whatever the order of its names."""
    return sha256(canonical(schema).encode()).hexdigest()


def read_json(sent: bytes) -> Json:
    """Read JSON as RFC 8259 has it. Raises BadRequest; NaN, endless numbers and deep nests are refused."""
    try:
        value = json.loads(sent, parse_constant=_refuse)
        canonical(value)
    except (ValueError, RecursionError) as exc:
        raise BadRequest(f"the body cannot be read as JSON: {exc}") from exc
    if _is_deeper(value, DEEPEST):
        raise BadRequest(f"the body has more than {DEEPEST} arrays and objects in each other")
    return value


def _refuse(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _is_deeper(value: Json, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)
