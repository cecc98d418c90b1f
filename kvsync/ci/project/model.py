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
value of the matrix, for `{profile}`, `{seed}`, `{workers}`, and `{out}`, a new folder for result files;
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

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, WithJsonSchema
from pydantic.functional_validators import AfterValidator

FILE = "stages.toml"

RESERVED = frozenset(
    {
        "cluster",
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

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([smh]?)")

DEFAULT_TIMEOUT_S = 900.0


def _stage_name(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"{name!r} is a name of the pipeline's own; choose another")
    if name.endswith("-tests"):
        raise ValueError("no name may end in -tests, which files of the pipeline do; choose another")
    return name


def _seconds(given: object) -> object:
    """Read `90`, "90s", "5m" or "2h" as seconds; what is no text is left to the validation."""
    if not isinstance(given, str):
        return given
    found = _TIME.fullmatch(given.strip())
    if not found:
        raise ValueError(f'{given!r} is no time; give seconds, or a text such as "90s", "10m" or "2h"')
    return float(found[1]) * _UNITS[found[2]]


def _several(given: object) -> object:
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
    BeforeValidator(_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?[smh]?$"},
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


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class When(_Part):
    """Which runs a stage is part of by itself; one that names the stage has it in any case."""

    profiles: tuple[Profile, ...] = ("quick", "full")
    """Only runs of these profiles."""
    triggers: tuple[Trigger, ...] = (
        "manual",
        "schedule",
        "push",
        "pull-request",
        "merge-queue",
        "comment",
        "dispatch",
    )
    """Only what these started; with an empty list, only a run that names the stage."""
    schedules: tuple[Schedule, ...] = ("nightly", "weekly")
    """Of the runs that a schedule started, only those of these."""
    paths: Annotated[
        tuple[str, ...], BeforeValidator(_several, json_schema_input_type=str | tuple[str, ...])
    ] = ()
    """Of pull requests, only those that change one of these (patterns as in .gitignore files)."""


class _Stage(_Part):
    needs: Annotated[
        tuple[StageName, ...], BeforeValidator(_several, json_schema_input_type=str | tuple[str, ...])
    ] = ()
    """Stages that have to pass first: they are part of every run that has this one, which is else not run.
    Services that it gets, fresh and empty, while it runs."""
    after: Annotated[
        tuple[StageName, ...], BeforeValidator(_several, json_schema_input_type=str | tuple[str, ...])
    ] = ()
    """Stages that go first where a run has both."""
    timeout: Seconds = DEFAULT_TIMEOUT_S
    """How long it may take: seconds, or a text such as "90s", "10m" or "2h". The owner may allow less."""
    retries: Literal[0, 1] = 0
    """Whether what failed is tried once more, for at most five tests or 2 % of a run."""
    workers: PositiveInt | None = None
    """How many processes share the tests."""
    environment: Variables = {}
    """Variables that it gets besides those of the pipeline."""
    matrix: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")],
            Annotated[tuple[str, ...], Field(min_length=1, max_length=20)],
        ],
        Field(max_length=4),
    ] = {}
    """The stage once for each combination of these values; a stage of its own, named after them."""
    when: When = When()
    """Which runs it is part of."""


class PytestStageTable(_Stage):
    """Tests of pytest. The pipeline's plugin is used where the interpreter has it, else JUnit is read."""

    kind: Literal["pytest"]
    """What kind of stage it is."""
    folder: InnerPath
    """Where the tests are."""
    python: InnerPath | None = None
    """The project's own interpreter; without one, the pipeline's."""
    options: tuple[str, ...] = ()
    """More words for pytest's command line."""
    cluster: bool = False
    """Whether its tests use the cluster that the run asks for. Forks' commits have none."""


class CommandStageTable(_Stage):
    """Any program. Without result files its exit status is the only check, which is weak evidence."""

    kind: Literal["command"]
    """What kind of stage it is."""
    command: Words
    """The words of the command line."""
    folder: InnerPath | None = None
    """Where it is started; at the top, if this is not set."""
    results: Annotated[
        tuple[InnerPath, ...], BeforeValidator(_several, json_schema_input_type=str | tuple[str, ...])
    ] = ()
    """Which files its tests are read from, with `*` and `**`, from the top of the repository."""
    format: ResultFormat | None = None
    """Of all these files; else each is known by what is in it."""


StageTable = Annotated[PytestStageTable | CommandStageTable, Field(discriminator="kind")]


class ProjectTable(_Part):
    """What holds for all stages."""

    name: Annotated[str, Field(max_length=100)] = ""
    """What it is called."""
    prepare: tuple[Words, ...] = ()
    """Commands that make ready what the stages need, one after the other."""
    prepared_from: Annotated[
        tuple[InnerPath, ...], BeforeValidator(_several, json_schema_input_type=str | tuple[str, ...])
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


class _Service(_Part):
    start_timeout: Seconds = 60.0
    """How long it may take until it is ready: seconds, or a text such as "90s"."""


class ProcessServiceTable(_Service):
    """A program of the repository that stages talk to. Its words, `ready` and the values of its environment
    may name its own `{host}`, `{port}` and `{url}`, and what it needs, such as `{services.database.url}`."""

    kind: Literal["process"]
    """What kind of service it is."""
    command: Words
    """The words of the command line; it listens on 127.0.0.1 at `{port}`, and stays in the foreground."""
    ready: Annotated[str, AfterValidator(_ready)]
    """What is asked until it answers: "{url}/healthz" (with a status below 400) or "tcp://{host}:{port}"."""
    folder: InnerPath | None = None
    """Where it is started; at the top, if this is not set."""
    needs: Annotated[
        tuple[ServiceName, ...], BeforeValidator(_several, json_schema_input_type=str | tuple[str, ...])
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


class Project(_Part):
    """Everything that the file says."""

    project: ProjectTable = ProjectTable()
    """What holds for all stages."""
    services: Annotated[dict[ServiceName, ServiceTable], Field(max_length=20)] = {}
    """What stages need besides themselves, by its names."""
    stages: Annotated[dict[StageName, StageTable], Field(min_length=1)]
    """The stages, by their names."""
