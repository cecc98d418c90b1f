"""Stages whose program says what it measured or found: benchmarks and audits. Pure."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from kvsync.ci.project.stage_fields import StageFields
from kvsync.ci.project.values import InnerPath, Part, Words, several
from kvsync.pods import Location

BenchmarkFormat = Literal[
    "pytest-benchmark",
    "go-bench",
    "go-test",
    "hyperfine",
    "customBiggerIsBetter",
    "customSmallerIsBetter",
]
"""What kvsync.ci.readers reads as measurements."""

AuditFormat = Literal["pip-audit", "cargo-audit", "npm-audit", "govulncheck", "sarif"]
"""What kvsync.ci.readers reads as findings."""

Results = Annotated[
    tuple[InnerPath, ...],
    BeforeValidator(several, json_schema_input_type=str | tuple[str, ...]),
    Field(min_length=1),
]


class _FoundStage(StageFields):
    command: Words
    """The words of the command line."""
    folder: InnerPath | None = None
    """Where it is started; at the top, if this is not set."""
    results: Results = ("{output}",)
    """Which files are read, with `*` and `**`, from the top of the repository; else what it prints."""


Percent = Annotated[float, Field(ge=0, le=200, allow_inf_nan=False)]


class Compare(Part):
    """Whether the tested code is slower than the commit at which it left its base: both are measured in
    turns, each time by a fresh process, and what is slower has to be so in a second batch, too. Each measure
    is a check. A commit of the base branch itself is measured, and in full runs compared with itself."""

    base: Annotated[Literal["merge-base"], Field(alias="with")] = "merge-base"
    """What it is compared with: in a folder of its own, where the base's own `prepare` is run."""
    pairs: Annotated[int, Field(ge=5, le=50)] = 10
    """How often each of both is measured, in each of the batches."""
    prepare: tuple[Words, ...] = ()
    """Commands that make the folder of either ready, such as a build, besides the project's `prepare`."""
    measures: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=500)], ...],
        BeforeValidator(several, json_schema_input_type=str | tuple[str, ...]),
    ] = ()
    """Only measures with one of these names, with `*`, such as "cpu of the process"; else all of them."""
    cpu: bool = False
    """Whether the CPU time of the program is a measure, too."""
    floor: Percent = 3.0
    """Percent: a smaller slowdown does not count, unless the number is the same in each process."""
    seen: Annotated[Percent, Field(ge=1)] = 10.0
    """Percent: the slowdown that has to be noticed. A measure whose noise would hide it is inconclusive."""
    trials: Annotated[int, Field(ge=0, le=100)] = 20
    """In full runs where nothing is changed, the code is compared with a copy of it up to so many times, as
    the time allows: false alarms, and the slowdown that would be seen, say which measures can gate."""
    inconclusive: Literal["undecided", "shown"] = "undecided"
    """Whether such a measure leaves the stage undecided, or is only shown."""


class BenchmarkStageTable(_FoundStage):
    """Measurements of any program, kept for comparisons and trends. Without one it is unknown; nothing else
    is asked of them, unless `compare` does."""

    kind: Literal["benchmark"]
    """What kind of stage it is."""
    format: BenchmarkFormat | None = None
    """Of all these files; else each is known by what is in it."""
    compare: Compare | None = None
    """Whether it is slower than its base; `{}` asks with everything left as it is."""


class AuditStageTable(_FoundStage):
    """Known weaknesses that any program looks for. Each finding is a check, and fails unless `accepted.toml`
    accepts it for a time. Where nothing was looked at, it is unknown."""

    kind: Literal["audit"]
    """What kind of stage it is."""
    format: AuditFormat | None = None
    """Of all these files; else each is known by what is in it."""


def wrong_comparisons(document: Mapping[str, object]) -> Iterator[tuple[Location, str]]:
    """Yield the stages that compare two versions of which both would use one program of the repository."""
    services, stages = (_tables(document.get(each)) for each in ("services", "stages"))
    own = {name for name, table in services.items() if table.get("kind") == "process"}
    for name, table in stages.items():
        needs = table.get("needs", ())
        given = [needs] if isinstance(needs, str) else needs if isinstance(needs, list) else []
        for each in sorted(own.intersection(map(str, given))) if "compare" in table else ():
            what = f"it needs {each!r}, a program of the repository, which would be the tested one for both"
            yield ("stages", name, "compare"), f"{what}; let the benchmark start it itself"


def _tables(given: object) -> dict[str, dict[str, object]]:
    tables = given.items() if isinstance(given, dict) else ()
    return {name: table for name, table in tables if isinstance(table, dict)}
