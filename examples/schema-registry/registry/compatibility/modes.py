"""The promises that a subject can make.

backward: who has the new version can read what was written by the one before; consumers are updated first.
forward: who still has the one before can read what the new one writes; producers are updated first.
full: both. With `_transitive`, towards all earlier versions and not only the last one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from registry.compatibility.containment import problems
from registry.errors import BadRequest

Mode = Literal[
    "none", "backward", "forward", "full", "backward_transitive", "forward_transitive", "full_transitive"
]

MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a comparison with one earlier version found; without problems, they are compatible."""

    version: str
    mode: Mode
    problems: tuple[str, ...]


def parse_mode(text: object) -> Mode:
    """Read a mode. Raises BadRequest."""
    for mode in MODES:
        if mode == text:
            return mode
    raise BadRequest(f"{text!r} is not a mode of compatibility; there are {', '.join(MODES)}")


def check(new: Any, earlier: Sequence[tuple[str, Any]], mode: Mode) -> tuple[Finding, ...]:
    """Compare a schema with earlier ones (version and schema, the newest last), as far as the mode asks."""
    if mode == "none":
        return ()
    compared = earlier if mode.endswith("_transitive") else earlier[-1:]
    return tuple(Finding(version, mode, _between(new, old, mode)) for version, old in compared)


def _between(new: Any, old: Any, mode: Mode) -> tuple[str, ...]:
    promise = mode.removesuffix("_transitive")
    found: list[str] = []
    if promise in ("backward", "full"):
        found += [f"the new version cannot read old documents: {each}" for each in problems(old, new)]
    if promise in ("forward", "full"):
        found += [f"the old version cannot read new documents: {each}" for each in problems(new, old)]
    return tuple(found)
