"""What tools wrote, within bounds: how much of a file is read, and how much of that is held as JSON.

Files come from tested code, so anything may be in them. What is too large is cut and said to be; what is not
what it should be raises Damaged, which makes a result UNKNOWN, never green.
"""

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kvsync.errors import KVSyncError
from kvsync.pods import path as place
from kvsync.pods import problems

MOST_BYTES = 64 * 2**20
"""How much of a file is read; the rest of a larger one counts as cut off."""

MOST_VALUES = 5_000_000
"""Of one JSON document: each takes some 60 bytes of memory, so a small file could fill it."""

MOST_ITEMS = 200_000
MOST_ENTRIES = 50_000
"""Of one list, and of one object whose keys are names: more than the largest projects have files."""

NAME_CHARACTERS = 1000
TEXT_CHARACTERS = 128 * 1024
"""Of what a test printed, or of why it failed; as much as a stage in a box may say."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,20}m")

_BOMS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}
"""How files begin that PowerShell's redirection wrote."""


class Damaged(KVSyncError):
    """A file that cannot be read as what it is, or is nothing; the message says why."""


class Foreign(BaseModel):
    """A part of what a tool wrote: what it has beyond our fields is not looked at, and null is nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: each for name, each in value.items() if each is not None}


Model = TypeVar("Model", bound=BaseModel)
Part = TypeVar("Part")

Many = Annotated[tuple[Part, ...], Field(max_length=MOST_ITEMS, fail_fast=True)]
"""A list in a document: an error ends it, since a million of them would fill the memory."""

Table = Annotated[Mapping[str, Part], Field(max_length=MOST_ENTRIES)]
"""An object whose keys are names."""


def text_of(path: Path) -> tuple[str, str]:
    """Return the text of a file, and why it is not all of it ("" if it is).

    Raises OSError without the file, and Damaged if it is empty.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if not content.strip():
        raise Damaged("the file is empty")
    cut = f"only its first {MOST_BYTES // 2**20} MiB were read" if len(content) > MOST_BYTES else ""
    encoding = next((name for bom, name in _BOMS.items() if content.startswith(bom)), "utf-8")
    return content[:MOST_BYTES].decode(encoding, errors="replace"), cut


def parsed(model: type[Model], text: str) -> Model:
    """Return a JSON document as a model; raises Damaged."""
    _count(text)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        where, what = problems(error)[0]
        raise Damaged(plain_name(f"{place(where)}: {what}")) from error


def stream_of(text: str) -> Iterator[tuple[object, int]]:
    """Yield JSON documents in a row, each with where it ends; raises Damaged at the first gap."""
    _count(text)
    decoder, at = json.JSONDecoder(), 0
    while at := _next(text, at):
        try:
            value, end = decoder.raw_decode(text, at - 1)
        except (ValueError, RecursionError) as error:
            raise Damaged(f"no whole JSON from character {at} on: {type(error).__name__}") from error
        yield value, end
        at = end


def plain(text: str, characters: int = TEXT_CHARACTERS) -> str:
    """Return text without what terminals obey, cut at its front: what a tool prints last says most."""
    shown = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", _COLOUR.sub("", text[-2 * characters :]))
    left_out = len(shown) - characters
    return f"(cut)\n{shown[left_out:]}" if left_out > 0 else shown


def plain_name(text: str) -> str:
    """Return a name on one line, cut at its end."""
    line = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", " ".join(text[: 2 * NAME_CHARACTERS].split()))
    return line if len(line) <= NAME_CHARACTERS else f"{line[: NAME_CHARACTERS - 1]}…"


def _count(text: str) -> None:
    if text.count(",") + text.count("[") + text.count("{") > MOST_VALUES:
        raise Damaged(f"it holds more than {MOST_VALUES:,} values")


def _next(text: str, at: int) -> int:
    """Return the place of the next character that is no space, counted from 1; 0 if there is none."""
    found = _SOLID.search(text, at)
    return found.end() if found else 0


_SOLID = re.compile(r"\S")
