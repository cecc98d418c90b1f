"""The stages that disturb what a stage needs, and measure how it is served meanwhile: kind "chaos".

```
[stages.chaos]
kind = "chaos"
needs = ["api"]
whole = [".venv/bin/python", "chaos/whole.py"]   # after each fault: exit status 0 says that data is whole
criteria = {availability = "99 %", errors = "1 %", p95 = 2.0, recovery = "30s"}

[stages.chaos.steady]                            # what is asked all the time
probe = "{services.api.url}/healthz"             # or load = "a load stage", or probe = ["a", "program"]
rate = 50

[stages.chaos.faults.slow-database]
on = "database"                                  # a service of the stage, or {selector = "app=api"}: pods
kind = "latency"
delay = "200ms"
for = "10s"
criteria = {p95 = 20.0}                          # only what differs
```
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema
from pydantic.functional_validators import AfterValidator

from kvsync.ci.project.stage_fields import StageFields
from kvsync.ci.project.values import NAME, InnerPath, Part, Seconds, ServiceName, StageName, Words

FEWEST_FOR_P95 = 200
"""Ten of this many requests are slower than their p95; with fewer it is down to luck."""

PLANNED, PLANNED_FOR_P95 = 40, 250
"""How many requests have to be planned so that 20, and FEWEST_FOR_P95, come: they come at random."""

RATE_PER_S, PROGRAM_RATE_PER_S = 50.0, 5.0
"""How often is asked where the file does not say: over HTTP, and by starting a program."""

MOST_PER_S = 1000.0
"""More says no more about a fault; how much is served is for a stage of the kind `load`."""

_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%")
_BYTES = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kKMG]i?)?B?")
_UNITS = {"": 1, "k": 1000, "K": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?"


def _share(given: object) -> object:
    """Read `0.99` or "99 %" as a share; what is no text is left to the validation."""
    if isinstance(given, str):
        if not (found := _SHARE.fullmatch(given.strip())):
            raise ValueError(f'{given!r} is no share; give one such as "99 %", or 0.99')
        given = float(found[1]) / 100
    if isinstance(given, int | float) and not isinstance(given, bool) and not 0 <= given <= 1:
        raise ValueError(
            f'{given:g} is no share; give one from 0 to 1, such as 0.99, or a text such as "99 %"'
        )
    return given


def _bytes(given: object) -> object:
    """Read `65536`, "64 KiB" or "1 MB" as bytes."""
    if not isinstance(given, str):
        return given
    if not (found := _BYTES.fullmatch(given.strip())):
        raise ValueError(
            f'{given!r} is no number of bytes; give one, or a text such as "64 KiB" or "512 MiB"'
        )
    return round(float(found[1]) * _UNITS[found[2] or ""])


def _probe(given: object) -> object:
    match given:
        case str() if re.match(r"(https?://[^/\s]|\{[a-z])", given):
            return given
        case [str(), *rest] if all(isinstance(word, str) for word in rest):
            return tuple(given)
    raise ValueError(
        f'{given!r} is neither an address nor a program; give one such as "{{services.api.url}}/healthz", '
        'or ["bin/probe", "--quick"]'
    )


def _factor(given: object) -> object:
    """Let `false` stand for no limit at all."""
    if isinstance(given, bool):
        if given:
            raise ValueError("true is no limit; give a number such as 2.0, or false for none")
        return None
    return given


def _kind_of_victim(given: object) -> str:
    if isinstance(given, PodSelector | ContainerLabel):
        return "pods" if isinstance(given, PodSelector) else "containers"
    return ("containers" if "container" in given else "pods") if isinstance(given, dict) else "service"


def _selector(given: str) -> str:
    pairs = [pair.strip() for pair in given.split(",")]
    if not all(re.fullmatch(rf"{_LABEL}==?{_LABEL}", pair) for pair in pairs):
        raise ValueError(f'{given!r} is no list of labels; give it such as "app=api" or "app=api,tier=web"')
    return given


FaultName = Annotated[str, Field(pattern=NAME, max_length=60)]
Share = Annotated[
    float,
    Field(ge=0, le=1),
    BeforeValidator(_share),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$"},
            ]
        }
    ),
]
Bytes = Annotated[
    int,
    Field(gt=0),
    BeforeValidator(_bytes),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?([kKMG]i?)?B?$"},
            ]
        }
    ),
]


class Criteria(Part):
    """What a service has to keep to while something is wrong, against the baseline just before. Of a fault's,
    what is left out is that of its stage."""

    availability: Annotated[Share, Field(gt=0)] = 0.99
    """The least share of the requests that is served, from the injection until the recovery."""
    errors: Share = 0.01
    """By how much the share of failed requests may rise, at most."""
    p95: Annotated[
        Annotated[float, Field(ge=1, le=100_000, allow_inf_nan=False)] | None,
        BeforeValidator(_factor),
        WithJsonSchema({"anyOf": [{"type": "number", "minimum": 1, "maximum": 100_000}, {"const": False}]}),
    ] = 2.0
    """How many times as long as in the baseline the slowest 5 % may take; `false` for however long."""
    quick: Seconds = 0.05
    """A p95 of at most this is quick enough, however quick the baseline was."""
    recovery: Seconds = 30.0
    """After how long, counted from the end of the fault, requests are served again."""


class PodSelector(Part):
    """Pods on Kubernetes, by their labels."""

    selector: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_selector)]
    """Labels that they have, such as "app=api"."""
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)] = "default"
    """The namespace that they are in."""


class ContainerLabel(Part):
    """Containers of Docker's on this machine, by a label."""

    container: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_selector)]
    """Labels that they have, such as "com.docker.compose.service=api"."""


Victim = Annotated[
    Annotated[ServiceName, Tag("service")]
    | Annotated[PodSelector, Tag("pods")]
    | Annotated[ContainerLabel, Tag("containers")],
    Discriminator(_kind_of_victim),
]


class _Fault(Part):
    on: Victim
    """What it befalls: a service of the stage by its name, pods by `selector`, or containers."""
    seconds: Annotated[Seconds, Field(alias="for")] = 10.0
    """How long it is held, or, if it is over at once, how long what comes of it is watched."""
    criteria: Criteria = Criteria()
    """What differs from those of the stage."""


class LatencyTable(_Fault):
    """Everything to and from it takes longer."""

    kind: Literal["latency"]
    """What kind of fault it is."""
    delay: Seconds
    """By how much, each way."""
    jitter: Seconds = 0.0
    """By how much more or less, at random."""


class BandwidthTable(_Fault):
    """Each connection to it passes few bytes per second, both ways."""

    kind: Literal["bandwidth"]
    """What kind of fault it is."""
    rate: Bytes
    """How many: a number, or a text such as "64 KiB"."""


class LossTable(_Fault):
    """Packets from and to it are lost. Not run for a service: a proxy has none to lose."""

    kind: Literal["loss"]
    """What kind of fault it is."""
    fraction: Annotated[Share, Field(gt=0)] = 0.5
    """Which share of them."""


class CorruptionTable(_Fault):
    """Bytes within its connections are changed."""

    kind: Literal["corruption"]
    """What kind of fault it is."""
    fraction: Annotated[Share, Field(gt=0)] = 0.5
    """In which share of what is sent at once."""


class PartitionTable(_Fault):
    """Connections stay open, and nothing passes."""

    kind: Literal["partition"]
    """What kind of fault it is."""
    direction: Literal["both", "to", "from"] = "both"
    """Which way nothing passes."""


class OutageTable(_Fault):
    """Connections are reset, and new ones refused."""

    kind: Literal["outage"]
    """What kind of fault it is."""


class ResetTable(_Fault):
    """The connections that are open are reset, once; new ones are accepted."""

    kind: Literal["reset"]
    """What kind of fault it is."""


class KillTable(_Fault):
    """Its processes are killed, and started again at once; pods are deleted, and others come."""

    kind: Literal["kill"]
    """What kind of fault it is."""


class DownTable(_Fault):
    """Its processes are killed, and started again when the fault ends."""

    kind: Literal["down"]
    """What kind of fault it is."""


class RestartTable(_Fault):
    """It is asked to end, and started again at once."""

    kind: Literal["restart"]
    """What kind of fault it is."""


class PauseTable(_Fault):
    """Its processes are stopped where they are: connections stay open, and nothing answers."""

    kind: Literal["pause"]
    """What kind of fault it is."""


class CpuTable(_Fault):
    """Processes beside it keep the machine busy."""

    kind: Literal["cpu"]
    """What kind of fault it is."""
    workers: Annotated[int, Field(ge=1, le=256)] = 2
    """How many."""
    load: Annotated[Share, Field(gt=0)] = 0.8
    """Which share of a core each of them uses."""


class MemoryTable(_Fault):
    """Processes beside it hold memory."""

    kind: Literal["memory"]
    """What kind of fault it is."""
    workers: Annotated[int, Field(ge=1, le=256)] = 2
    """How many."""
    size: Bytes = 512 * 1024**2
    """How much all of them hold together: bytes, or a text such as "512 MiB"."""


FaultTable = Annotated[
    LatencyTable
    | BandwidthTable
    | LossTable
    | CorruptionTable
    | PartitionTable
    | OutageTable
    | ResetTable
    | KillTable
    | DownTable
    | RestartTable
    | PauseTable
    | CpuTable
    | MemoryTable,
    Field(discriminator="kind"),
]

FAULT_KINDS: Mapping[str, type[Part]] = {
    str(get_args(model.model_fields["kind"].annotation)[0]): model
    for model in get_args(get_args(FaultTable)[0])
}


class Steady(Part):
    """What is asked at a fixed rate, before a fault, during it and until it is over."""

    load: StageName | None = None
    """A stage of the kind "load", whose requests are sent."""
    probe: Annotated[
        str | tuple[str, ...] | None,
        BeforeValidator(_probe, json_schema_input_type=str | tuple[str, ...]),
    ] = None
    """Or an address, whose answers have a status below 400, or a program, whose exit status is 0."""
    rate: Annotated[float, Field(gt=0, le=MOST_PER_S, allow_inf_nan=False)] | None = None
    """How often, per second: 50 times, a program 5 times, unless this says otherwise."""
    timeout: Seconds = 5.0
    """How long an answer to a probe may take."""

    @property
    def rate_per_s(self) -> float:
        """How often is asked."""
        return self.rate or (PROGRAM_RATE_PER_S if isinstance(self.probe, tuple) else RATE_PER_S)


class ChaosStageTable(StageFields):
    """Faults on what the stage needs, one after the other: each is proved to act, and what is asked meanwhile
    is measured against a baseline just before. All its services are reached through a proxy."""

    kind: Literal["chaos"]
    """What kind of stage it is."""
    steady: Steady
    """What is asked all the time."""
    faults: Annotated[dict[FaultName, FaultTable], Field(min_length=1, max_length=100)]
    """The faults, by names of theirs."""
    criteria: Criteria = Criteria()
    """What has to be kept to during each."""
    baseline: Seconds = 5.0
    """How long is measured before each fault."""
    whole: Words | None = None
    """A program whose exit status 0 says that all data is there and right; it runs before the first fault
    and after each."""
    whole_timeout: Seconds = 60.0
    """How long that may take."""
    folder: InnerPath | None = None
    """Where programs are started; at the top, if this is not set."""


def criteria_of(stage: Criteria, fault: Criteria) -> Criteria:
    """Return the criteria of a fault: its own, and for what it does not say those of its stage."""
    said = {name: getattr(fault, name) for name in fault.model_fields_set}
    return stage.model_copy(update=said)
