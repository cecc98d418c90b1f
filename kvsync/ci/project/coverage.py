"""What has to have run, of a stage or, in `[coverage]`, of all stages together. Pure.

```
[coverage]                                     # of what ran in any stage of a run that has them all
minimum = 85
changed = 90                                   # of the lines that a pull request, or a branch, changes
paths = {"src/core/**" = 90, "src/codec.py" = {minimum = 95, of = "branches"}}

[stages.unit]
kind = "pytest"
folder = "tests/unit"
coverage = {}                                  # measured, with coverage.py

[stages.go]
kind = "command"
command = ["go", "test", "-json", "-coverprofile={out}/cover.out", "./..."]
results = "{output}"
coverage = {files = "{out}/cover.out", minimum = 70}
```
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern
from pydantic import BeforeValidator, ConfigDict, Field, field_validator

from kvsync.ci.project.values import InnerPath, Part, Profile, several
from kvsync.pods import Location

Percent = Annotated[float, Field(ge=0, le=100)]

Counted = Literal["lines", "branches", "both"]


class PathMinimum(Part):
    """What has to have run of some files, in its own terms."""

    minimum: Percent
    """Percent."""
    of: Counted | None = None
    """Which share is meant, if it is another than that of everything."""


def _table(given: object) -> object:
    """Let a number stand for a table."""
    return given if isinstance(given, dict | PathMinimum) else {"minimum": given}


Minimum = Annotated[PathMinimum, BeforeValidator(_table, json_schema_input_type=Percent | PathMinimum)]


class CoverageGate(Part):
    """What has to have run; where it says nothing, coverage is only shown."""

    model_config = ConfigDict(allow_inf_nan=False)

    minimum: Percent | None = None
    """Percent of everything."""
    paths: dict[str, Minimum] = {}
    """Percent of the files that a pattern fits, as in .gitignore files, or a table that says `of` what."""
    changed: Percent | None = None
    """Percent of the lines that a pull request changes, or what is here since it left the default branch."""
    of: Counted = "both"
    """Which share is meant: of lines, of branches, or of both together, as coverage.py reports it."""

    @field_validator("paths")
    @classmethod
    def _are_patterns(cls, paths: dict[str, PathMinimum]) -> dict[str, PathMinimum]:
        for each in paths:
            pattern(each)
        return paths


ProfileFiles = Annotated[
    tuple[InnerPath, ...], BeforeValidator(several, json_schema_input_type=str | tuple[str, ...])
]


class CommandCoverage(CoverageGate):
    """The coverage of a command, which measures it."""

    files: Annotated[ProfileFiles, Field(min_length=1)]
    """Which files it is read from, as `results` are: of coverage.py (JSON), Cobertura, LCOV or Go."""
    profiles: tuple[Profile, ...] = ("quick", "full")
    """Only runs of these profiles are measured."""


class PytestCoverage(CoverageGate):
    """The coverage of tests: measured with coverage.py 7.10 or newer of the interpreter that runs them, from
    its start and in the processes that they start, or else read from `files`. The project's own settings of
    coverage.py hold."""

    files: ProfileFiles = ()
    """Files to read it from instead."""
    source: tuple[InnerPath, ...] = ()
    """Folders that are measured; if neither this nor the project's settings name any, `src` or all, without
    tests."""
    profiles: tuple[Profile, ...] = ("quick", "full")
    """Only runs of these profiles are measured."""


def wrong_coverage(document: Mapping[str, object]) -> Iterator[tuple[Location, str]]:
    """Yield that a gate of all stages has nothing to judge; of what is malformed, nothing is said here."""
    given = document.get("stages")
    stages = given.values() if isinstance(given, dict) else ()
    if "coverage" in document and not any("coverage" in each for each in stages if isinstance(each, dict)):
        yield ("coverage",), "no stage is covered; give those that count `coverage = {}`"


def pattern(text: str) -> Callable[[str], bool]:
    """Return what says whether a path fits a pattern of .gitignore; raises ValueError for none."""
    try:
        regex, include = GitIgnoreSpecPattern.pattern_to_regex(text)
    except GitIgnorePatternError as error:
        raise ValueError(f"{text!r} is no pattern of paths: {error}") from error
    if not regex or not include:
        raise ValueError(f"{text!r} is no pattern of paths: write src/core/** or *.py")
    compiled = re.compile(str(regex))
    return lambda path: compiled.match(path) is not None
