"""What a schema is, which versions it has and through which states it goes. No input or output."""

from registry.core.lifecycle import State, moved
from registry.core.record import Draft, Key, Record, new_id
from registry.core.registration import Accepted, Existing, Refused, decide
from registry.core.versions import LATEST, parse_version, precedence

__all__ = [
    "LATEST",
    "Accepted",
    "Draft",
    "Existing",
    "Key",
    "Record",
    "Refused",
    "State",
    "decide",
    "moved",
    "new_id",
    "parse_version",
    "precedence",
]
