"""What a repository says of itself in `stages.toml`, at its top: which stages it has, and how they are run.

```
[project]
name = "schema-registry"
prepare = [["python3", "-m", "venv", ".venv"], [".venv/bin/pip", "install", "-r", "requirements.lock"]]
prepared_from = ["requirements.lock"]          # made anew only when these change

[stages.unit]
kind = "pytest"
folder = "tests/unit"
python = ".venv/bin/python"

[stages.build]
kind = "command"
command = ["make", "check"]
results = "build/reports/*.xml"
after = ["unit"]
timeout = "10m"
```

It is what a tested commit may say. Clusters, stores, secrets and ceilings are the pipeline's owner's, and
stay in `kvsync-ci.toml`. Stages run in the order of the file, after those that they name. In the words of
`command`, `options`, `python`, `folder`, `results` and the values of `environment`, `{name}` stands for a
value of the matrix, for `{profile}`, `{seed}`, `{workers}`, `{python}`, the interpreter that the pipeline
runs with (in `command`), and `{out}`, a new folder for result files;
`results = "{output}"` is what the program prints.

```
[services.database]
kind = "postgres"

[services.api]
kind = "process"
command = [".venv/bin/python", "-m", "registry", "--port", "{port}"]
needs = ["database"]                           # which it finds by the variable DATABASE_URL
ready = "{url}/healthz"

[stages.integration]
kind = "pytest"
folder = "tests/integration"
needs = ["api"]                                # fresh and empty for this stage, gone after it
environment = {REGISTRY = "{services.api.url}"}
```
"""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic.functional_validators import AfterValidator

from kvsync.ci.project.chaos_stage import ChaosStageTable
from kvsync.ci.project.coverage import CommandCoverage, CoverageGate, PytestCoverage
from kvsync.ci.project.found_stages import AuditStageTable, BenchmarkStageTable
from kvsync.ci.project.load_stage import LoadStageTable
from kvsync.ci.project.shards import MOST_SHARDS, shard_values
from kvsync.ci.project.stage_fields import TestingStageFields
from kvsync.ci.project.values import (
    InnerPath,
    Part,
    ProfileKind,
    ResultFormat,
    Seconds,
    ServiceName,
    StageName,
    Variables,
    Words,
    several,
)

FILE = "stages.toml"


class PytestStageTable(TestingStageFields):
    """Tests of pytest. The pipeline's plugin is used where the interpreter has it, else JUnit is read."""

    kind: Literal["pytest"]
    """What kind of stage it is."""
    folder: InnerPath
    """Where the tests are."""
    python: InnerPath | None = None
    """The project's own interpreter; without one, the pipeline's."""
    options: tuple[str, ...] = ()
    """More words for pytest's command line."""
    coverage: PytestCoverage | None = None
    """How much of the repository has to run; `{}` only measures and shows it."""
    profile: ProfileKind | None = None
    """Keep a page about where the time of its process went (pyinstrument), or its memory (memray), which the
    interpreter has to have; a page for each attempt, in the run's `evidence`. `kvsync-ci run --profiler` asks
    for one of any stage."""
    shards: Annotated[int, Field(ge=2, le=MOST_SHARDS)] | None = None
    """Into how many stages its tests are shared, by files and how long they took lately: `unit-1` and so on,
    which may be stages of different runs, on different machines. `{shard}` stands for the number."""
    cluster: bool = False
    """Whether its tests use the cluster that the run asks for. Forks' commits have none."""

    @property
    def every_value(self) -> dict[str, tuple[str, ...]]:
        """The values of its matrix, and the numbers of its shards."""
        return {**self.matrix, **shard_values(self.shards)}


class CommandStageTable(TestingStageFields):
    """Any program. Without result files its exit status is the only check, which is weak evidence."""

    kind: Literal["command"]
    """What kind of stage it is."""
    command: Words
    """The words of the command line."""
    folder: InnerPath | None = None
    """Where it is started; at the top, if this is not set."""
    results: Annotated[
        tuple[InnerPath, ...], BeforeValidator(several, json_schema_input_type=str | tuple[str, ...])
    ] = ()
    """Which files its tests are read from, with `*` and `**`, from the top of the repository."""
    format: ResultFormat | None = None
    """Of all these files; else each is known by what is in it."""
    profile: ProfileKind | None = None
    """The same page as of a pytest stage, of a program of Python: `python -m MODULE`, `python PROGRAM.py`, or
    one whose first line names Python, such as `.venv/bin/mypy`."""
    coverage: CommandCoverage | None = None
    """How much of the repository has to run, read from files that the command writes."""


StageTable = Annotated[
    PytestStageTable
    | CommandStageTable
    | BenchmarkStageTable
    | AuditStageTable
    | LoadStageTable
    | ChaosStageTable,
    Field(discriminator="kind"),
]


class ProjectTable(Part):
    """What holds for all stages."""

    name: Annotated[str, Field(max_length=100)] = ""
    """What it is called."""
    prepare: tuple[Words, ...] = ()
    """Commands that make ready what the stages need, one after the other."""
    prepared_from: Annotated[
        tuple[InnerPath, ...], BeforeValidator(several, json_schema_input_type=str | tuple[str, ...])
    ] = ()
    """Files that decide what `prepare` makes: in a checkout that stays, it is made anew when they change."""
    prepare_timeout: Seconds = 1800.0
    """How long preparing may take."""


def _ready(address: str) -> str:
    if not re.match(r"(\{url\}|(http|tcp)://\{host\}:\{port\})(?![^/?])", address):
        raise ValueError(
            f"{address!r} is not an address of its own that can be asked; "
            'give one such as "{url}/healthz" or "tcp://{host}:{port}"'
        )
    return address


class _Service(Part):
    start_timeout: Seconds = 60.0
    """How long it may take until it is ready: seconds, or a text such as "90s"."""


class ProcessServiceTable(_Service):
    """A program of the repository that stages talk to. Its words, `ready` and the values of its environment
    may name its own `{host}`, `{port}`, `{url}` and `{folder}`, and what it needs, such as
    `{services.database.url}`. The folder is empty at first, stays over restarts, goes with the service."""

    kind: Literal["process"]
    """What kind of service it is."""
    command: Words
    """The words of the command line; it listens on 127.0.0.1 at `{port}`, and stays in the foreground."""
    ready: Annotated[str, AfterValidator(_ready)]
    """What is asked until it answers: "{url}/healthz" (with a status below 400) or "tcp://{host}:{port}"."""
    folder: InnerPath | None = None
    """Where it is started; at the top, if this is not set."""
    needs: Annotated[
        tuple[ServiceName, ...], BeforeValidator(several, json_schema_input_type=str | tuple[str, ...])
    ] = ()
    """Services that are started before it, and end after it."""
    environment: Variables = {}
    """Variables that it gets besides those of the pipeline and of the services that it needs."""


class PostgresServiceTable(_Service):
    """A PostgreSQL server, or a new database of one; its database has the name of the service."""

    kind: Literal["postgres"]
    """What kind of service it is."""


class RedisServiceTable(_Service):
    """A server that speaks the protocol of Redis, such as Valkey."""

    kind: Literal["redis"]
    """What kind of service it is."""


class S3ServiceTable(_Service):
    """A server that speaks the protocol of S3, with an empty bucket that has the name of the service."""

    kind: Literal["s3"]
    """What kind of service it is."""


ServiceTable = Annotated[
    ProcessServiceTable | PostgresServiceTable | RedisServiceTable | S3ServiceTable,
    Field(discriminator="kind"),
]


class Project(Part):
    """Everything that the file says."""

    project: ProjectTable = ProjectTable()
    """What holds for all stages."""
    services: Annotated[dict[ServiceName, ServiceTable], Field(max_length=20)] = {}
    """What stages need besides themselves, by its names."""
    coverage: CoverageGate | None = None
    """What has to have run in all stages together, of a run that has every stage that is covered."""
    stages: Annotated[dict[StageName, StageTable], Field(min_length=1)]
    """The stages, by their names."""
