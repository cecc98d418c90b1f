"""Where a run's engines live, and how clusters are made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    ValidationInfo,
    field_validator,
)

from kvsync.ci.documented import Documented
from kvsync.ci.toml_table import TomlTable
from kvsync.errors import UnknownName

FILE = "kvsync-ci.toml"


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


def _known(cluster: str) -> str:
    try:
        return str(ClusterChoice.parse(cluster))
    except UnknownName as exc:
        raise ValueError(str(exc)) from exc


ClusterName = Annotated[str, AfterValidator(_known)]
"""The text of a ClusterChoice."""


def split(names: object) -> object:
    """Split the names in a variable at commas; what is not a text is left to the validation."""
    return tuple(filter(None, map(str.strip, names.split(",")))) if isinstance(names, str) else names


class ClusterSettings(TomlTable, Documented):
    """How clusters are made. The words below each field are also what the form in Prefect's UI says."""

    model_config = ConfigDict(allow_inf_nan=False)

    node_image: Annotated[str, Field(pattern=r"^\S*$")] = ""
    """What Kind's nodes run; empty: the image that the installed kind was released with."""
    workers: NonNegativeInt = 2
    """Kind's nodes besides the control plane."""
    base_image: Annotated[str, Field(pattern=r"^\S+$")] = "python:3.11-slim"
    """What the project's image is built on."""
    image: Annotated[str, Field(pattern=r"^\S+$")] | None = None
    """An image that exists already, instead of building one; other clusters than Kind's need one."""
    allowed_contexts: Annotated[tuple[str, ...], BeforeValidator(split)] = ()
    """The only contexts of a kubeconfig that a run touches; a parameter of a run allows none."""
    kubeconfig: Path | None = None
    """The kubeconfig file, no parameter either; without one, kubectl's own rules find it."""
    namespace_prefix: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=20)] = "kvsync"
    """Namespaces are named `<prefix>-<run id>-<cluster>`."""
    create_timeout_s: PositiveFloat = 300.0
    """Seconds until a new cluster answers."""
    ready_timeout_s: PositiveFloat = 180.0
    """Seconds until pods are ready."""
    delete_timeout_s: PositiveFloat = 120.0
    """Seconds until what is deleted is gone."""

    @field_validator("kubeconfig")
    @classmethod
    def _absolute(cls, kubeconfig: Path | None, info: ValidationInfo) -> Path | None:
        """Relative to the repository, so that it means the same wherever the command is started."""
        folder = cast("Path", info.context) if info.context else Path()
        return folder / kubeconfig.expanduser() if kubeconfig else None
