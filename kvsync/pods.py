"""Which engines there are: a pod as a value, and lists of pods read from text.

A pod publishes the events of data-parallel rank r on `event_port + r` and answers replays on
`replay_port + r`, as vLLM does, so the two ranges of ports must not overlap.
"""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Annotated, ClassVar, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from kvsync.errors import ConfigError
from kvsync.events import Source

Location = tuple[str | int, ...]
"""Where a field is in a document: ("pods", 3, "port")."""

_LAST_PORT = 65535

_EVERYWHERE = frozenset({"*", "0.0.0.0", "::", "[::]"})  # noqa: S104 - compared, not bound


def _not_taken(name: str, info: ValidationInfo) -> str:
    if isinstance(taken := info.context, set):
        if name in taken:
            raise ValueError(f"another pod is named {name!r}")
        taken.add(name)
    return name


def _ports_apart(dp_size: int, info: ValidationInfo) -> int:
    events, replay = info.data.get("event_port", 0), info.data.get("replay_port")
    if replay is not None and abs(replay - events) < dp_size:
        raise ValueError(
            f"{dp_size} rank(s) from event_port {events} on overlap those from replay_port {replay} on"
        )
    last = info.data.get("dp_rank", 0) + dp_size - 1
    if max(events, replay or 0) + last > _LAST_PORT:
        raise ValueError(f"the ports of rank {last} lie beyond {_LAST_PORT}")
    return dp_size


def engine_host(host: str) -> str:
    """Return a host that can be connected to; raises ValueError for one that stands for all addresses.

    Engines that connect to kvsync could not be told apart: a SUB socket does not say which peer a message
    came from, a topic says what its sender likes, and each engine counts its messages from 0.
    """
    if host in _EVERYWHERE:
        raise ValueError(
            f"{host} is no address of an engine: kvsync connects to engines and takes no connections from"
            " them; let the engine bind its endpoint (tcp://*:5557), and name the engine's address here"
        )
    return host


Name = Annotated[str, Field(min_length=1)]
Host = Annotated[str, Field(pattern=r"^[^\s/\[\]]+$")]
Port = Annotated[int, Field(ge=1, le=_LAST_PORT)]


@dataclass(frozen=True, kw_only=True)
class Pod:
    """One engine behind one address.

    `host` is a name or an address, IPv6 without brackets; `replay_port` is None where the engine was
    started without a replay endpoint; `ready` says whether requests may go there; `loras` are adapters
    known beforehand; `scheme` is of its HTTP alone, events have no TLS. `dp_rank` is the first of its ranks,
    where each rank is a pod of its own (vLLM's `--data-parallel-rank`); the ports are those of rank 0 all
    the same. Checked when read from text, not when built in code.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: Annotated[Name, AfterValidator(_not_taken)]
    model: Name
    host: Annotated[Host, AfterValidator(engine_host)]
    scheme: Literal["http", "https"] = "http"
    port: Port = 8000
    event_port: Port = 5557
    replay_port: Port | None = 5558
    dp_rank: Annotated[int, Field(ge=0)] = 0
    dp_size: Annotated[int, Field(ge=1, validate_default=True), AfterValidator(_ports_apart)] = 1
    ready: bool = True
    loras: tuple[Name, ...] = ()

    @cached_property
    def url(self) -> str:
        """Base of the OpenAI endpoints."""
        return f"{self.scheme}://{self._address}:{self.port}"

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """One publisher per data-parallel rank."""
        ranks = range(self.dp_rank, self.dp_rank + self.dp_size)
        return tuple(Source(self.name, self.model, rank) for rank in ranks)

    def endpoint(self, rank: int = 0) -> str:
        """Where this rank publishes its events."""
        return f"tcp://{self._address}:{self.event_port + rank}"

    def replay_endpoint(self, rank: int = 0) -> str | None:
        """Where this rank repeats what it published; None if it does not."""
        return None if self.replay_port is None else f"tcp://{self._address}:{self.replay_port + rank}"

    @property
    def _address(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


class PodDefaults(BaseModel):
    """What pods of Kubernetes are that say nothing else; without `model` each has to name its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Name | None = None
    scheme: Literal["http", "https"] = "http"
    port: Port = 8000
    event_port: Port = 5557
    replay_port: Annotated[Port | None, Field(validate_default=True)] = 5558

    @field_validator("replay_port")
    @classmethod
    def _apart(cls, replay: int | None, info: ValidationInfo) -> int | None:
        if replay is not None and replay == info.data.get("event_port"):
            raise ValueError(f"{replay} is event_port, too")
        return replay


class _PodFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    pods: tuple[Pod, ...]


def parse_pods(text: str, origin: str) -> tuple[Pod, ...]:
    """The pods of a document `{"pods": [...]}`; raises ConfigError with every problem in it."""
    document = parse_document(text, origin)
    try:
        return _PodFile.model_validate(document, context=set()).pods
    except ValidationError as error:
        raise ConfigError(origin, [f"{path(where)}: {what}" for where, what in problems(error)]) from error


def parse_document(text: str, origin: str) -> object:
    """Read JSON, TOML or YAML, by the ending of `origin`; raises ConfigError when it cannot."""
    text = text.removeprefix("\ufeff")  # some editors begin files so
    try:
        match PurePath(origin).suffix:
            case ".json":
                return json.loads(text)
            case ".toml":
                return tomllib.loads(text)
            case _:
                return yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(origin, [" ".join(str(error).split())]) from error


def problems(error: ValidationError) -> list[tuple[Location, str]]:
    """What pydantic found, as places and lower-case sentences."""
    return [(line["loc"], _sentence(line)) for line in error.errors(include_url=False)]


def _sentence(line: ErrorDetails) -> str:
    text, given = line["msg"], line["input"]
    match line["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return "unknown key"
        case "model_type" | "dataclass_type":
            return f"a mapping is needed, not {given!r}"
        case "bool_type":
            return f"true or false is needed, without quotes, not {given!r}"
        case "int_type" | "float_type":
            return f"a number is needed, without quotes, not {given!r}"
        case "value_error":
            return text.removeprefix("Value error, ")
        case "missing":
            return "is missing"
        case _:
            return f"{text[:1].lower()}{text[1:]}, not {given!r}"


def path(where: Sequence[str | int]) -> str:
    """A place as people write it: `pods[3].port`; the whole document is `.`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in where]
    return "".join(parts).removeprefix(".") or "."
