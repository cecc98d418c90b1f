"""A model is described by the words below its fields, in its JSON schema and at no other time."""

from typing import Annotated

from pydantic import Field

from kvsync.ci.documented import Documented


class Engine(Documented):
    """An engine, which its users call by another name."""

    name: Annotated[str, Field(alias="called")] = ""
    """Its own,
    over two lines."""
    port: int = 0
    told: Annotated[int, Field(description="Said beside it.")] = 0
    """Said below it."""


class TracedEngine(Engine):
    """An engine that says where it has been."""

    engine: Engine | None = None
    """Another one."""
    port: int = 1
    """Where it listens."""


def described(schema: dict[str, dict[str, dict[str, object]]]) -> dict[str, object]:
    """Return the description of each field, None for one without."""
    return {name: field.get("description") for name, field in schema["properties"].items()}


def test_the_words_below_a_field_describe_it() -> None:
    """Under the name that users write; what is said beside a field counts more."""
    schema = Engine.model_json_schema()

    assert described(schema) == {
        "called": "Its own,\nover two lines.",
        "port": None,
        "told": "Said beside it.",
    }


def test_inherited_fields_keep_their_words() -> None:
    """Of a field that is declared again the last words count; a model within one is described, too."""
    schema = TracedEngine.model_json_schema()

    assert described(schema) == {
        "called": "Its own,\nover two lines.",
        "port": "Where it listens.",
        "told": "Said beside it.",
        "engine": "Another one.",
    }
    assert described(schema["$defs"]["Engine"])["called"] == "Its own,\nover two lines."
