"""A commented configuration of the gateway with every setting and its default, made from the model.

python docs/scripts/configuration.py            # print the page
python docs/scripts/configuration.py --write    # bring docs/configuration.md up to date
"""

import argparse
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from kvsync.config import GatewayConfig
from kvsync.pods import Pod

PAGE = Path(__file__).parents[1] / "configuration.md"
WIDTH = 100

INTRODUCTION = """\
# Configuration of the gateway

What can be set, and what holds if it is not?

This page is made by `docs/scripts/configuration.py` from the model that reads the settings
([kvsync/config.py](../kvsync/config.py)). It is a whole configuration with every default, so give only what
you change; what has no default is commented out, a block of settings with its own comments. Each field is a
variable, too: `routing.sigma` is `KVSYNC_ROUTING__SIGMA`, and a list or a mapping is written as YAML:
`KVSYNC_PODS='[{name: a, model: m, host: 10.0.0.7}]'`. Variables win.

"""


def page() -> str:
    """Return the page."""
    return f"{INTRODUCTION}```yaml\n{configuration()}```\n"


def configuration() -> str:
    """Return the configuration as YAML."""
    return "".join(f"{line}\n" for line in _model(GatewayConfig))


def _model(model: type[BaseModel]) -> Iterator[str]:
    yield from _comment(model)
    for name, field in model.model_fields.items():
        yield from _field(name, field)


def _field(name: str, field: FieldInfo) -> Iterator[str]:
    inner = next((each for each in _types(field.annotation) if issubclass(each, BaseModel)), None)
    if name == "pods":
        yield ""
        yield from _comment(Pod)
        yield f"pods: []{_choices(field)}"
        yield from (f"# {'  ' if number else '- '}{line}" for number, line in enumerate(_pod()))
    elif inner:
        yield ""
        body = [f"  {line}".rstrip() for line in _model(inner)]
        is_empty = all(line.lstrip().startswith("#") for line in body)
        lines = [f"{name}: {{}}" if is_empty and field.default is not None else f"{name}:", *body]
        is_there = isinstance(field.default, inner)
        yield from lines if is_there else (f"# {line}".rstrip() for line in lines)
    elif field.default is None or field.is_required():
        yield f"# {name}:{_choices(field)}"
    else:
        yield f"{name}: {_value(field.get_default(call_default_factory=True))}{_choices(field)}"


def _pod() -> Iterator[str]:
    for field in fields(Pod):
        default = f"{field.name.upper()}" if field.default is MISSING else _value(field.default)
        yield f"{field.name}: {default}"


def _comment(described: type) -> Iterator[str]:
    for paragraph in (inspect.getdoc(described) or "").split("\n\n"):
        yield from (f"# {line}" for line in textwrap.wrap(paragraph, WIDTH))


def _value(default: object) -> str:
    if isinstance(default, tuple):
        default = list(default)
    return json.dumps(default).strip('"') if isinstance(default, str) else json.dumps(default)


def _choices(field: FieldInfo) -> str:
    """Say what a field takes, where that is a choice; a secret as what it is."""
    types = [field.annotation, *get_args(field.annotation)]
    for each in types:
        if get_origin(each) is Literal:
            return f"    # {' or '.join(map(str, get_args(each)))}"
    return "    # a secret: better from the environment" if SecretStr in types else ""


def _types(annotation: Any) -> Iterator[type]:
    for each in (annotation, *get_args(annotation)):
        if inspect.isclass(each) and not is_dataclass(each) and get_origin(each) is None:
            yield each


def main() -> None:
    """Print the page; with --write, also bring the one in docs up to date."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    if parser.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")


if __name__ == "__main__":
    main()
