"""A stage of the kind `load` has requests, the values in them, phases and thresholds. Pure.

```
[stages.load]
kind = "load"
needs = ["api"]
target = "{services.api.url}"
thresholds = ["p95 of read < 10 ms", "p99 of write in spike < 50 ms", "errors < 5 %", "rate > 100"]

[stages.load.values]                             # drawn at random, by the run's seed
subject = ["orders", "users"]
number = {from = 1, to = 1000}
document = {file = "load/documents.txt"}         # one per line

[stages.load.requests.write]
weight = 15
method = "POST"
path = "/subjects/{subject}/versions"
json = {schema = "{document}"}
expect = [200, 201, 409]
capture = {version = "version"}                  # from the JSON of the answer

[stages.load.requests.read]
weight = 80
path = "/subjects/{subject}/versions/{version}"  # values, and what answers gave

[[stages.load.phases]]
kind = "ramp"
from = 10
to = 300
for = "10s"
```
"""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, JsonValue, Tag
from pydantic.functional_validators import AfterValidator

from kvsync.ci.project.stage_fields import StageFields
from kvsync.ci.project.values import InnerPath, Part, Profile, Seconds, Words, several
from kvsync.testing.load.http.thresholds import parse

TOOLS: Mapping[str, str] = {".js": "k6", ".mjs": "k6", ".ts": "k6", ".py": "locust"}
"""What runs a script, by its ending."""

METHODS = (
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"),
    *("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK"),
)
"""Those of HTTP (RFC 9110, 5789) and WebDAV (RFC 4918), without CONNECT, which makes a tunnel."""

ValueName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
PartName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=60)]
Rate = Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)]
Scalar = str | int | float


def _threshold(text: str) -> str:
    parse(text)
    return text


def _absolute(path: str) -> str:
    if not path.startswith(("/", "{")):
        raise ValueError(f"{path!r} is not a path on the target; begin it with /")
    return path


def _target(address: str) -> str:
    if address and not address.startswith(("http://", "https://", "{")):
        raise ValueError(f'{address!r} is not an address; give one such as "http://127.0.0.1:8000"')
    return address


def _method(name: str) -> str:
    if name in METHODS:
        return name
    if name.upper() in METHODS:
        raise ValueError(f"{name!r} is not a method of HTTP; write it in capitals: {name.upper()!r}")
    raise ValueError(f"{name!r} is not a method of HTTP that a load sends: those are {', '.join(METHODS)}")


def _capture(where: str) -> str:
    if where.removeprefix("header:").strip() == "" or ".." in where:
        raise ValueError(f'{where!r} leads nowhere; give such as "items.0.id" or "header:Location"')
    return where


class RangeTable(Part):
    """Whole numbers from one to the other, both included."""

    from_: Annotated[int, Field(alias="from")]
    """The smallest."""
    to: int
    """The largest."""


class LinesTable(Part):
    """The lines of a file, without empty ones."""

    file: InnerPath
    """Where it is in the repository."""


def _kind_of_values(given: object) -> str:
    if isinstance(given, dict | RangeTable | LinesTable):
        return "lines" if (isinstance(given, LinesTable) or "file" in dict(given)) else "range"
    return "list"


ValuesOf = Annotated[
    Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=100_000), Tag("list")]
    | Annotated[RangeTable, Tag("range")]
    | Annotated[LinesTable, Tag("lines")],
    Discriminator(_kind_of_values),
]


class RequestTable(Part):
    """One kind of request. Texts may name values and captured values in braces."""

    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """How often it is sent, compared with the others."""
    method: Annotated[str, AfterValidator(_method)] = "GET"
    """Such as GET, POST, PUT, PATCH or DELETE."""
    path: Annotated[str, AfterValidator(_absolute)]
    """With its query, such as "/items/{item}?full=1"; values in it are quoted."""
    headers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")], str] = {}
    """Sent besides those that every request has."""
    body: str | None = None
    """A text that is sent."""
    json_body: Annotated[JsonValue, Field(alias="json")] = None
    """What is sent as JSON; a text that is one name in braces becomes the value itself, such as a number."""
    expect: Annotated[
        tuple[Annotated[int, Field(ge=100, le=599)], ...],
        Field(min_length=1),
        BeforeValidator(
            lambda given: (given,) if isinstance(given, int) else given,
            json_schema_input_type=int | tuple[int, ...],
        ),
    ] = ()
    """Status codes that count as served; without any, all below 400."""
    capture: dict[ValueName, Annotated[str, AfterValidator(_capture)]] = {}
    """Values that its answers give to other requests: a path into their JSON, or "header:NAME"."""
    timeout: Seconds = 10.0
    """How long an answer may take; later it counts as an error."""


class _Phase(Part):
    name: Annotated[str, Field(pattern=r"^([a-z][a-z0-9_-]*)?$", max_length=60)] = ""
    """What thresholds call it; its kind, if this is not set."""
    duration: Annotated[Seconds, Field(alias="for")]
    """How long it takes; when it climbs, each step."""
    profiles: Annotated[
        tuple[Profile, ...],
        Field(min_length=1),
        BeforeValidator(several, json_schema_input_type=str | tuple[str, ...]),
    ] = ("quick", "full")
    """Only in runs of these profiles."""


class RampTable(_Phase):
    """The rate goes evenly from one to another."""

    kind: Literal["ramp"]
    """What kind of phase it is."""
    from_: Annotated[float, Field(alias="from", ge=0, le=100_000)]
    """Requests per second at its beginning."""
    to: Annotated[float, Field(ge=0, le=100_000)]
    """Requests per second at its end."""


class SteadyTable(_Phase):
    """One rate throughout. A spike or a soak is nothing else, and says what it is for."""

    kind: Literal["hold", "spike", "soak"]
    """What kind of phase it is."""
    rate: Rate
    """Requests per second."""


class ClimbTable(_Phase):
    """The rate rises step by step until a threshold breaks; the report says at which rate."""

    kind: Literal["climb"]
    """What kind of phase it is."""
    from_: Annotated[Rate, Field(alias="from")]
    """Requests per second of the first step."""
    to: Rate
    """The rate at which it ends if nothing breaks before."""
    step: Rate
    """By how much each step is higher than the one before."""


PhaseTable = Annotated[RampTable | SteadyTable | ClimbTable, Field(discriminator="kind")]


class LoadStageTable(StageFields):
    """Requests that arrive at given rates, whether or not earlier ones are answered, and what is asked of it.

    Each threshold is a check. One without samples is void, and nothing is concluded from requests that were
    not sent in time. Instead of `target`, `requests` and `phases`, a `script` of k6 or Locust can send them.
    """

    kind: Literal["load"]
    """What kind of stage it is."""
    thresholds: Annotated[
        tuple[Annotated[str, AfterValidator(_threshold)], ...],
        Field(min_length=1, max_length=100),
        BeforeValidator(several, json_schema_input_type=str | tuple[str, ...]),
    ]
    """What has to hold, such as "p95 of read < 10 ms", "p99 of write in spike < 50 ms", "mean < 5 ms",
    "errors < 5 %" and "rate > 1000"."""
    target: Annotated[str, AfterValidator(_target)] = ""
    """Where requests go, such as "{services.api.url}"; any address of HTTP."""
    setup: Words | None = None
    """A program that makes ready what is asked for; the stage is not run if its exit status is not 0."""
    values: Annotated[dict[ValueName, ValuesOf], Field(max_length=100)] = {}
    """What requests name in braces: a list, `{from = 1, to = 9}` or `{file = "lines.txt"}`."""
    requests: Annotated[dict[PartName, RequestTable], Field(max_length=100)] = {}
    """The kinds of requests, by their names."""
    phases: Annotated[tuple[PhaseTable, ...], Field(max_length=100)] = ()
    """One after the other: ramp, hold, spike, soak and climb."""
    script: InnerPath | None = None
    """A script of k6 (.js, .ts) or Locust (.py) that sends the requests."""
    program: str = ""
    """Where k6 or Locust is, such as ".venv/bin/locust"; else it is looked for on PATH."""
    options: tuple[str, ...] = ()
    """More words for its command line, such as "--users=50"."""


def described(table: LoadStageTable, profile: Profile) -> str:
    """Say in one line what a load stage does in runs of a profile."""
    if table.script:
        return " ".join([table.program or TOOLS[PurePath(table.script).suffix], table.script, *table.options])
    phases = [_phase_described(each) for each in table.phases if profile in each.profiles]
    return f"{', '.join(table.requests)} at {table.target}: {', '.join(phases) or 'no phase'}"


def _phase_described(phase: PhaseTable) -> str:
    rates = f"{phase.rate:g}/s" if isinstance(phase, SteadyTable) else f"{phase.from_:g} to {phase.to:g}/s"
    return f"{phase.name or phase.kind} {rates} for {phase.duration:g} s"
