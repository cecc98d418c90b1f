"""Where a run's engines live, and how clusters are made: from `kvsync-ci.toml` and `KVSYNC_CI_*` variables.

The table `[cluster]` of the file holds the fields below; a variable is the field's name in capitals with the
prefix (`KVSYNC_CI_WORKERS=3`), and wins. Several contexts are separated by commas. An empty variable counts
as not set. Everything that is wrong is reported at once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from kvsync.errors import ConfigError, UnknownName
from kvsync.pods import Location, parse_document, path, problems

FILE = "kvsync-ci.toml"
PREFIX = "KVSYNC_CI_"

_RENAMED = {"node_image": "KIND_NODE_IMAGE"}
"""Only Kind has a node image, and a variable stands without a table around it."""

_OTHERS = re.compile(r"TRACE|CHAOS_CRDS|TEST_.*")
"""Variables with the prefix that are no settings of a cluster: what tests are given, and their switches."""


@dataclass(frozen=True, slots=True)
class ClusterChoice:
    """Which provider a run asked for; `context` only with a kubeconfig, None for its current context."""

    kind: Literal["local", "kind", "kubeconfig"]
    context: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `local`, `kind`, `kubeconfig` or `kubeconfig:CONTEXT`; else raises UnknownName."""
        match text.partition(":"):
            case ("local" | "kind" | "kubeconfig") as kind, "", "":
                return cls(kind)
            case "kubeconfig", ":", context if context:
                return cls("kubeconfig", context)
        raise UnknownName("cluster", text, ("local", "kind", "kubeconfig", "kubeconfig:CONTEXT"))

    def __str__(self) -> str:
        return f"{self.kind}:{self.context}" if self.context else self.kind


def _split(names: object) -> object:
    return tuple(filter(None, map(str.strip, names.split(",")))) if isinstance(names, str) else names


class ClusterSettings(BaseModel):
    """How clusters are made. Times are seconds.

    `node_image`: what Kind's nodes run; "" is the image that the installed kind was released with.
    `workers`: Kind's nodes beside the control plane. `base_image`: what the project's image is built on.
    `image`: an image that exists already, instead of building one; clusters other than Kind's need it, since
    what is built here is not on their nodes. `allowed_contexts`: the only contexts of a kubeconfig that a run
    touches. `kubeconfig`: None follows kubectl's own rules. `namespace_prefix`: namespaces are named
    `<prefix>-<run id>-<cluster>`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    node_image: Annotated[str, Field(pattern=r"^\S*$")] = ""
    workers: NonNegativeInt = 2
    base_image: Annotated[str, Field(pattern=r"^\S+$")] = "python:3.11-slim"
    image: Annotated[str, Field(pattern=r"^\S+$")] | None = None
    allowed_contexts: Annotated[tuple[str, ...], BeforeValidator(_split)] = ()
    kubeconfig: Path | None = None
    namespace_prefix: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=20)] = "kvsync"
    create_timeout_s: PositiveFloat = 300.0
    ready_timeout_s: PositiveFloat = 180.0
    delete_timeout_s: PositiveFloat = 120.0

    @field_validator("kubeconfig")
    @classmethod
    def _absolute(cls, kubeconfig: Path | None, info: ValidationInfo) -> Path | None:
        """Relative to the repository, so that it means the same wherever the command is started."""
        folder = cast("Path", info.context) if info.context else Path()
        return folder / kubeconfig.expanduser() if kubeconfig else None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    cluster: ClusterSettings = ClusterSettings()


def load_cluster_settings(repository: Path, environ: Mapping[str, str]) -> ClusterSettings:
    """Settings of `kvsync-ci.toml` at the top of a repository, if it is there, and of the environment.

    Raises ConfigError with every problem: the path of the field, what is wrong, and the file or variable.
    """
    file = repository / FILE
    document = _read(file)
    names = {f"{PREFIX}{_RENAMED.get(field, field.upper())}": field for field in ClusterSettings.model_fields}
    given = {name: text for name, text in environ.items() if name.startswith(PREFIX) and text}
    set_by = {names[name]: name for name in given if name in names}
    wrong = [
        str(UnknownName("variable", name, names))
        for name in sorted(given.keys() - names.keys())
        if not _OTHERS.fullmatch(name.removeprefix(PREFIX))
    ]
    table = document.get("cluster", {})
    if isinstance(table, dict):
        document["cluster"] = {**table, **{field: given[name] for field, name in set_by.items()}}
    try:
        settings = _File.model_validate(document, context=repository.resolve()).cluster
    except ValidationError as error:
        found = [(where, what) for where, what in problems(error)]
        wrong = [f"{path(where)}: {what} ({_origin(where, set_by, file)})" for where, what in found] + wrong
    if wrong:
        raise ConfigError("configuration of clusters", wrong)
    return settings


def _read(file: Path) -> dict[str, object]:
    if not file.exists():
        return {}
    try:
        return cast("dict[str, object]", parse_document(file.read_text(encoding="utf-8"), str(file)))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("configuration of clusters", [f"cannot read {file}: {error}"]) from error


def _origin(where: Location, set_by: Mapping[str, str], file: Path) -> str:
    match where:
        case ("cluster", str(field), *_) if field in set_by:
            return set_by[field]
    return str(file)
