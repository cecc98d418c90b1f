"""Stages whose program says what it measured or found: benchmarks and audits. Pure."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from kvsync.ci.project.stage_fields import StageFields
from kvsync.ci.project.values import InnerPath, Words, several

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


class BenchmarkStageTable(_FoundStage):
    """Measurements of any program, kept for comparisons and trends. Without one it is unknown; nothing else
    is asked of them."""

    kind: Literal["benchmark"]
    """What kind of stage it is."""
    format: BenchmarkFormat | None = None
    """Of all these files; else each is known by what is in it."""


class AuditStageTable(_FoundStage):
    """Known weaknesses that any program looks for. Each finding is a check, and fails unless `accepted.toml`
    accepts it for a time. Where nothing was looked at, it is unknown."""

    kind: Literal["audit"]
    """What kind of stage it is."""
    format: AuditFormat | None = None
    """Of all these files; else each is known by what is in it."""
