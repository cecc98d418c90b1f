"""docs/stages.schema.json is what the model says today."""

import json
import tomllib
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it has no types
import pytest

from docs.scripts.schema import FILE, schema


def test_the_schema_is_up_to_date() -> None:
    """`python docs/scripts/schema.py --write` brings it there."""
    assert FILE.read_text(encoding="utf-8") == schema()


def test_it_takes_our_own_file_and_refuses_a_misspelt_key() -> None:
    """An editor that reads it says what the pipeline says; a text stands for a list of one there, too."""
    ours = tomllib.loads((Path(__file__).parents[3] / "stages.toml").read_text(encoding="utf-8"))
    ours["stages"]["lint"] = {"kind": "command", "command": ["ruff"], "after": "unit", "timeout": "2m"}
    jsonschema.validate(ours, json.loads(schema()))

    ours["stages"]["lint"]["tiemout"] = 3
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(ours, json.loads(schema()))
