"""Templates of pages: how they are read, and where they are kept once they are compiled."""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket

Filters = Mapping[str, Callable[..., object]]
"""What templates call, by the name that they have for it."""


class CompiledTemplates(FileSystemBytecodeCache):
    """Keeps what is compiled where Python keeps that of the modules beside it, and only where it may.

    Compiling takes longer than filling in. A folder of runs will not do: tests may write there.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), f"%s.jinja2-{version('jinja2')}")

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it, if there is a place."""
        if not sys.dont_write_bytecode:
            with suppress(OSError):
                super().dump_bytecode(bucket)


def templates(folder: Path, filters: Filters) -> Environment:
    """Return what reads the templates in the folder of a module; all text that is filled in is escaped."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=CompiledTemplates(folder / "__pycache__"),
    )
    environment.filters |= filters
    return environment
