"""Files of entries that a repository keeps, in TOML, such as its quarantine."""

import re
import tomllib
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from kvsync.ci.toml_table import TomlTable
from kvsync.errors import ConfigError
from kvsync.pods import path, problems

Entries = TypeVar("Entries", bound=BaseModel)

EntryText = Annotated[str, Field(min_length=1, max_length=500)]

NOT_TOML = "this is not TOML: {}; see https://toml.io"


class DatedEntry(TomlTable):
    """What is excused for a time, from the day it was `added` to the end of the day it `expires`: who answers
    for it, and why. `longest` is how long that may be."""

    longest: ClassVar[timedelta]

    owner: EntryText
    reason: EntryText
    added: date
    expires: date

    @model_validator(mode="after")
    def _ends(self) -> Self:
        latest = self.added + self.longest
        if not self.added <= self.expires <= latest:
            raise ValueError(
                f"expires {self.expires} for what was added {self.added}: has to be from then to {latest}"
            )
        return self

    def holds(self, today: date) -> bool:
        """Say whether the entry is in force."""
        return self.added <= today <= self.expires

    def is_over(self, today: date) -> bool:
        """Say whether the entry has expired."""
        return today > self.expires


def load_entries(model: type[Entries], file: Path, what: str) -> Entries:
    """Read a file of `what`; without it there are no entries.

    Raises ConfigError with every problem: the path of the field and what is wrong.
    """
    origin = f"{what}, {file.name}"
    try:
        text = file.read_text(encoding="utf-8-sig")
        return model.model_validate(tomllib.loads(text))
    except FileNotFoundError:
        return model()
    except ValidationError as error:
        raise ConfigError(origin, [f"{path(where)}: {why}" for where, why in problems(error)]) from error
    except tomllib.TOMLDecodeError as error:
        place = f"{file.name}:{line_of_error(text, error)}"
        raise ConfigError(origin, [f"{place}: {NOT_TOML.format(error)}"]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(origin, [f"cannot be read: {error}"]) from error


def line_of_error(text: str, error: Exception) -> int:
    """Return the number of the line at which tomllib gave up: without one in its words, the last."""
    said = re.search(r"at line (\d+)", str(error))
    return int(said[1]) if said else max(1, len(text.splitlines()))
