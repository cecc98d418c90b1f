"""Results as JSON with a line for each check, written and read piece by piece: a run may have 100,000.

What is written so is JSON like any other. What is JSON but laid out in another way is read as a whole.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from kvsync.testing.results.outcome import Check, Checks
from kvsync.testing.results.uncollected import uncollected
from kvsync.testing.results.whole import replacing

_encode = json.JSONEncoder(default=str).encode

BEGIN, END = '"checks": [', "]"
"""The lines around those of the checks, but for their margin and a comma."""


@runtime_checkable
class Laid(Protocol):
    """A value that is JSON of several lines."""

    def json_fields(self) -> Mapping[str, object]:
        """Return its fields by their names in JSON: plain values, or such that are laid out in turn."""


def laid_out(value: object, levels: int = 4, margin: str = "") -> Iterator[str]:
    """Yield JSON in pieces, with a line for each value of the first `levels`."""
    if isinstance(value, Laid):
        value = value.json_fields()
    inner, end = f"\n{margin} ", f"\n{margin}"
    if levels and isinstance(value, dict) and value:
        before = "{"
        for name, each in value.items():
            yield f"{before}{inner}{_encode(str(name))}: "
            yield from laid_out(each, levels - 1, f"{margin} ")
            before = ","
        yield f"{end}}}"
    elif levels and isinstance(value, list | tuple | Checks) and value:
        before = "["
        for each in value:
            yield f"{before}{inner}"
            yield from laid_out(each, levels - 1, f"{margin} ")
            before = ","
        yield f"{end}]"
    else:
        yield _encode(value)


def write_laid_out(path: Path, value: object, levels: int = 4) -> None:
    """Write JSON in place of an earlier file; a reader sees all of it or nothing."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(laid_out(value, levels))
        file.write("\n")


@uncollected()
def read_laid_out(path: Path) -> dict[str, object]:
    """Return what `write_laid_out` wrote, each check a value already; ValueError, KeyError or TypeError."""
    try:
        return _read_by_lines(path)
    except (ValueError, LookupError, TypeError, AttributeError):
        return cast("dict[str, object]", json.loads(path.read_text(encoding="utf-8")))


def _read_by_lines(path: Path) -> dict[str, object]:
    rest: list[str] = []
    found: list[Checks] = []
    checks: Checks | None = None
    with path.open(encoding="utf-8") as file:
        for line in file:
            if checks is not None and not line.lstrip().startswith(END):
                checks.append(Check.from_json(json.loads(line.strip().removesuffix(","))))
                continue
            rest.append(line)
            checks = None
            if line.strip() == BEGIN:
                checks = Checks()
                rest.append(str(len(found)))  # stands for them
                found.append(checks)
    value = json.loads("".join(rest))
    for stage in value.get("stages", [value]):
        if stage.get("checks"):
            stage["checks"] = found[stage["checks"][0]]
    return cast("dict[str, object]", value)
