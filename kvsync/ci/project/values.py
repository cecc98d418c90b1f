"""Names, times, paths and words, as tables of `stages.toml` have them: checked when they are read. Pure."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic.functional_validators import AfterValidator

from kvsync.ci.documented import Documented
from kvsync.ci.toml_table import TomlTable

RESERVED = frozenset(
    {
        "cluster",
        "coverage",
        "disk",
        "guardian",
        "head",
        "pipeline",
        "prepare",
        "quarantine",
        "residue",
        "stages",
        "workspace",
    }
)
"""What the pipeline calls results and logs of its own."""

NAME = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|[smh]?)")

DEFAULT_TIMEOUT_S = 900.0


def _stage_name(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"{name!r} is a name of the pipeline's own; choose another")
    if name.endswith("-tests"):
        raise ValueError("no name may end in -tests, which files of the pipeline do; choose another")
    return name


def as_seconds(given: object) -> object:
    """Read `90`, "200ms", "90s", "5m" or "2h" as seconds; what is no text is left to the validation."""
    if not isinstance(given, str):
        return given
    found = _TIME.fullmatch(given.strip())
    if not found:
        raise ValueError(f'{given!r} is no time; give seconds, or a text such as "90s", "10m" or "2h"')
    return float(found[1]) * _UNITS[found[2]]


def several(given: object) -> object:
    """Let a text stand for a list of one."""
    return (given,) if isinstance(given, str) else given


def _words(given: object) -> object:
    if isinstance(given, str):
        raise ValueError(f"a list of words is needed, such as {given.split()!r}; no shell reads it")
    if given == []:
        raise ValueError("it is empty; name a program")
    return given


def _inside(path: str) -> str:
    """Refuse a path that leads out of the repository, however it is written."""
    if path.startswith(("/", "~")) or "\\" in path or ".." in path.split("/"):
        raise ValueError(f"{path!r} leads out of the repository; give a path below its top")
    return path


StageName = Annotated[str, Field(pattern=NAME, max_length=60), AfterValidator(_stage_name)]
ServiceName = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=30)]
Seconds = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    BeforeValidator(as_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(ms|[smh])?$"},
            ]
        }
    ),
]
InnerPath = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_inside)]
Words = Annotated[
    tuple[Annotated[str, Field(max_length=4096)], ...], Field(min_length=1), BeforeValidator(_words)
]
Variables = dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str]
Profile = Literal["quick", "full"]
ProfileKind = Literal["time", "memory"]
Trigger = Literal["manual", "schedule", "push", "pull-request", "merge-queue", "comment", "dispatch"]
Schedule = Literal["nightly", "weekly"]


ResultFormat = Literal[
    "junit",
    "go-test",
    "tap",
    "pytest-benchmark",
    "go-bench",
    "hyperfine",
    "customBiggerIsBetter",
    "customSmallerIsBetter",
    "pip-audit",
    "cargo-audit",
    "npm-audit",
    "govulncheck",
    "coverage.py",
    "lcov",
    "go-cover",
    "sarif",
    "cobertura",
]
"""What kvsync.ci.readers reads."""


class Part(TomlTable, Documented):
    """A table of the file."""
