"""What tables of TOML files have in common, of whichever file."""

from contextlib import suppress
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema

PLAIN = ("bool", "int", "float")
"""What pydantic calls them."""


def _make_strict(schema: object) -> None:
    if isinstance(schema, dict):
        if schema.get("type") in PLAIN:
            schema["strict"] = True
        schema = [*schema.values()]
    for part in schema if isinstance(schema, list | tuple) else ():
        _make_strict(part)


class TomlTable(BaseModel):
    """A table: frozen, unknown keys are refused, and numbers and switches have to be some.

    TOML has both, so a text in place of one is a mistake, and so is `true` in place of a number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take numbers and switches as they stand; pydantic's own strictness would refuse lists, too."""
        schema = handler(source)
        _make_strict(schema)
        return schema


def spoken(table: type[BaseModel], field: str, text: str) -> object:
    """Return what a text from elsewhere says, such as a variable's; a file has numbers without quotes."""
    annotation = table.model_fields[field].annotation
    for kind in (bool, int, float):
        if kind in (annotation, *get_args(annotation)):
            with suppress(ValidationError):  # the table says what is wrong
                return TypeAdapter(kind).validate_python(text)
    return text
