"""Whether a document is what a schema describes, and else every reason why not."""

import json
from functools import lru_cache
from typing import Any

from jsonschema.validators import Draft202012Validator
from referencing import Registry

from registry.errors import InvalidSchema

MOST_PROBLEMS = 100


@lru_cache(maxsize=1024)
def _validator(written: str) -> Draft202012Validator:
    # An empty registry: nothing is fetched, whatever a schema refers to.
    return Draft202012Validator(json.loads(written), registry=Registry())


def problems_of(document: Any, schema: str) -> list[dict[str, str]]:
    """Return why a document is not valid, at most 100 reasons; `schema` is canonical JSON.

    Raises InvalidSchema for one that refers to itself without end.
    """
    found: list[dict[str, str]] = []
    try:
        for error in _validator(schema).iter_errors(document):
            path = "/".join(["", *map(str, error.absolute_path)])
            found.append({"path": path, "message": error.message[:500]})
            if len(found) == MOST_PROBLEMS:
                break
    except RecursionError as exc:
        raise InvalidSchema("this schema refers to itself without end") from exc
    return sorted(found, key=lambda problem: problem["path"])
