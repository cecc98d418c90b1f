"""A version of a schema as it is kept."""

import json
from dataclasses import asdict, dataclass, field
from typing import NamedTuple
from uuid import uuid4

from registry.core.lifecycle import State
from registry.json_text import Json, canonical


class Key(NamedTuple):
    """What a version is found by."""

    subject: str
    version: str

    def __str__(self) -> str:
        """Return how levels call it; a subject has no slash."""
        return f"{self.subject}/{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a client wants to register; without a version, the next one."""

    subject: str
    schema: Json
    version: str = ""
    metadata: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A registered version. `revision` counts its changes: of two copies the larger one is newer.

    Times are seconds since 1970, by the database's clock.
    """

    id: str
    subject: str
    version: str
    schema: Json
    digest: str
    state: State = "active"
    metadata: dict[str, Json] = field(default_factory=dict)
    revision: int = 1
    created_at: float = 0.0
    updated_at: float = 0.0

    @property
    def key(self) -> Key:
        """Return what it is found by."""
        return Key(self.subject, self.version)

    def encode(self) -> bytes:
        """Write it as the JSON that levels keep and clients get."""
        return canonical(asdict(self)).encode()

    @classmethod
    def decode(cls, written: bytes | str) -> "Record":
        """Read what `encode` wrote. Raises ValueError for anything else."""
        try:
            return cls(**json.loads(written))
        except TypeError as exc:
            raise ValueError(f"this is no record: {exc}") from exc


def new_id() -> str:
    """Return an identifier that no other record has."""
    return str(uuid4())
