"""Files of entries that a repository keeps, in TOML, such as its quarantine."""

import re
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from kvsync.errors import ConfigError
from kvsync.pods import path, problems

Entries = TypeVar("Entries", bound=BaseModel)

NOT_TOML = "this is not TOML: {}; see https://toml.io"


def load_entries(model: type[Entries], file: Path, what: str) -> Entries:
    """Read a file of `what`; without it there are no entries.

    Raises ConfigError with every problem: the path of the field and what is wrong.
    """
    origin = f"{what}, {file.name}"
    try:
        text = file.read_text(encoding="utf-8")
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
