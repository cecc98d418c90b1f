"""Models whose fields are described by the words below them.

Pydantic would look for the words when a model is made, which was a fifth of what it takes to import the
pipeline. Only a JSON schema has them, and few processes make one.
"""

import ast
import inspect
import textwrap
from itertools import pairwise

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Documented(BaseModel):
    """A model whose JSON schema describes each field with the words below it."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the words to what pydantic makes of it."""
        made = handler(schema)
        properties = handler.resolve_ref_schema(made).get("properties", {})
        for model in cls.__mro__:
            if issubclass(model, Documented):
                for name, said in words(model).items():
                    properties[cls.model_fields[name].alias or name].setdefault("description", said)
        return made


def words(model: type) -> dict[str, str]:
    """Return what stands below each field of a class, by the field's name."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in pairwise(definition.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                found[name] = inspect.cleandoc(said)
    return found
