"""Client keys: whose is the one that was shown?"""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from kvsync.errors import ConfigError
from kvsync.pods import parse_document, path, problems

STRANGER = "unknown"
"""Stands for the name of a client without a key, so no key can have it."""

SHORTEST = 16
"""Characters of a key at least: fewer can be guessed."""

MOST = 1000
"""Keys at most: each request is compared with all of them, and each has its own metrics."""

KeyName = Annotated[str, Field(pattern=r"^[\w.-]{1,63}$")]

_FILE = TypeAdapter(dict[KeyName, str])


class KeyRing:
    """Keys by name, those given and those of a file. Only their digests are kept."""

    def __init__(self, keys: Mapping[str, str], file: Path | None = None) -> None:
        """Read the file for the first time. Raises ConfigError."""
        self._given = dict(keys)
        self._file = file
        self._digests: dict[str, bytes] = {}
        self.read()

    @property
    def files(self) -> tuple[Path, ...]:
        """What to read again when it changes."""
        return (self._file,) if self._file else ()

    def read(self) -> None:
        """Take what the file says now. Raises ConfigError, and then keeps what there was."""
        keys = _merged(self._given, read_keys(self._file), self._file) if self._file else self._given
        self._digests = {name: _digest(key.encode()) for name, key in keys.items()}

    def name_of(self, shown: bytes) -> str | None:
        """Return whose key this is; how long that takes says nothing about any key."""
        digest, found = _digest(shown), None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found


def read_keys(file: Path) -> dict[str, str]:
    """Read a file of names and keys. Raises ConfigError, which shows no key."""
    origin = f"client keys in {file}"
    try:
        found = parse_document(file.read_text(encoding="utf-8"), str(file))
        return checked_keys(_FILE.validate_python(found or {}, strict=True))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(origin, [f"cannot be read: {exc}"]) from exc
    except ValidationError as exc:
        wrong = [f"{path(where)}: {what.partition(', not ')[0]}" for where, what in problems(exc)]
        raise ConfigError(origin, wrong) from None
    except ConfigError:
        raise ConfigError(origin, ["is not a mapping of names to keys"]) from None
    except ValueError as exc:
        raise ConfigError(origin, [str(exc)]) from None


def checked_keys(keys: Mapping[str, str]) -> dict[str, str]:
    """Return keys that can be used; raises ValueError, which shows none of them, for others."""
    for name, key in keys.items():
        if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or key != key.strip():
            raise ValueError(f"the key of {name!r} must be at least {SHORTEST} printable ASCII characters")
    if STRANGER in keys:
        raise ValueError(f"no key can be named {STRANGER!r}: it stands for requests without one")
    if len(set(keys.values())) < len(keys):
        raise ValueError("two names have the same key")
    if len(keys) > MOST:
        raise ValueError(f"there are more than {MOST} keys")
    return dict(keys)


def _merged(given: Mapping[str, str], read: Mapping[str, str], file: Path | None) -> dict[str, str]:
    both = {**given, **read}
    if len(both) < len(given) + len(read):
        raise ConfigError(f"client keys in {file}", ["a name is among access.keys, too"])
    try:
        return checked_keys(both)
    except ValueError as exc:
        raise ConfigError(f"client keys in {file}", [f"with access.keys: {exc}"]) from None


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()
