"""A first `stages.toml`, as a person would write it. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

HEAD = """\
# The stages of this repository, for kvsync-ci. Look through it: it was guessed from the files that are here.
# kvsync-ci plan shows what would run, and docs/any-system.md what else can be said.
"""


def as_toml(document: Mapping[str, Any]) -> str:
    """Return the text of a document with the tables `project` and `stages`."""
    return HEAD + "".join(_lines(document))


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield "\n[project]\n"
    yield from (f"{key} = {_value(value)}\n" for key, value in document.get("project", {}).items())
    for name, table in document["stages"].items():
        yield f"\n[stages.{name if name.replace('-', '').isalnum() else json.dumps(name)}]\n"
        if table["kind"] == "command" and "results" not in table:
            yield "# Weak evidence, an exit status alone: name files that say how tests ended in `results`.\n"
        yield from (f"{key} = {_value(value)}\n" for key, value in table.items())


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Mapping():
            return "{" + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + "}"
        case list() if value and all(isinstance(each, list) for each in value):
            return "[\n" + "".join(f"  {_value(each)},\n" for each in value) + "]"
        case list():
            return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
