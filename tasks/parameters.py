"""What one run of the pipeline is asked to do."""

import secrets
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from kvsync.errors import ConfigError, UnknownName
from kvsync.testing.cluster_settings import ClusterChoice, ClusterSettings
from kvsync.testing.stage import LOCAL
from tasks.catalogue import CLUSTERED, STAGES

REPOSITORY = Path(__file__).resolve().parent.parent


def new_run_id() -> str:
    """Return an id that sorts by start time and is free of characters that shells, URLs or S3 keys mind."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


class Parameters(BaseModel):
    """The parameters of a run; a run is repeated by giving the same ones again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stages: Annotated[
        tuple[str, ...],
        Field(min_length=1, description=f"Stages to run, in this order: {', '.join(STAGES)}"),
    ] = tuple(STAGES)
    profile: Annotated[
        Literal["quick", "full"],
        Field(description="quick: minutes, for every change. full: real durations and sizes, for the night."),
    ] = "quick"
    cluster: Annotated[
        str,
        Field(
            description="Where engines and gateway run: local (processes on this machine), kind (a Kind "
            "cluster of the run's own), kubeconfig or kubeconfig:CONTEXT (namespaces of a cluster there is)"
        ),
    ] = "local"
    reuse: Annotated[
        str,
        Field(
            pattern=r"^([a-z0-9][a-z0-9.-]*)?$",
            description="With kind: use the cluster of this name, made if it is not there, and leave it",
        ),
    ] = ""
    settings: Annotated[ClusterSettings, Field(description="How clusters are made")] = ClusterSettings()
    seed: Annotated[int, Field(ge=0, description="Decides everything that is drawn by chance")] = 0
    trace: Annotated[
        Path | None, Field(description="A Mooncake-format trace (JSON lines) to replay in the e2e stage")
    ] = None
    report_dir: Annotated[Path, Field(description="Each run gets a folder of its own in here")] = Path(
        "reports"
    )
    repository: Annotated[Path, Field(description="The folder whose tests/ are run")] = REPOSITORY
    keep: Annotated[bool, Field(description="End a stage at a failure, leave that cluster alive")] = False
    run: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="The id of the run")] = Field(
        default_factory=new_run_id
    )

    @field_validator("stages")
    @classmethod
    def _known_stages(cls, stages: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [UnknownName("stage", name, STAGES) for name in stages if name not in STAGES]
        if unknown:
            raise ValueError("; ".join(map(str, unknown)))
        return tuple(dict.fromkeys(stages))

    @field_validator("cluster")
    @classmethod
    def _known_cluster(cls, cluster: str) -> str:
        try:
            return str(ClusterChoice.parse(cluster))
        except UnknownName as exc:
            raise ValueError(str(exc)) from exc

    @field_validator("trace")
    @classmethod
    def _readable_trace(cls, trace: Path | None) -> Path | None:
        if trace and not trace.is_file():
            raise ValueError(f"no such file: {trace}")
        return trace.resolve() if trace else None

    @field_validator("report_dir", "repository")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.resolve()

    @classmethod
    def checked(cls, **fields: object) -> Self:
        """Build parameters; raises ConfigError with every problem at once."""
        try:
            return cls.model_validate(fields)
        except ValidationError as exc:
            problems = [
                f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}"
                for e in exc.errors()
            ]
            raise ConfigError("parameters of the run", problems) from exc

    @property
    def run_dir(self) -> Path:
        """The folder that holds everything this run leaves."""
        return self.report_dir / self.run

    @property
    def needs_cluster(self) -> bool:
        """Whether a cluster has to be made before the stages: a local one is made by each test."""
        return self.cluster != LOCAL and any(stage in CLUSTERED for stage in self.stages)

    @property
    def command(self) -> str:
        """The command line that repeats this run."""
        words = ["kvsync-ci", "run", *self.stages, "--profile", self.profile, "--cluster", self.cluster]
        words += ["--seed", str(self.seed)]
        words += ["--reuse", self.reuse] if self.reuse else []
        if self.cluster == "kind" and self.settings.node_image:
            words += ["--node-image", self.settings.node_image]
        if self.trace:
            words += ["--trace", str(self.trace)]
        if self.repository != REPOSITORY:
            words += ["--repository", str(self.repository)]
        return shlex.join(words)


def matrix(parameters: Parameters, node_images: Sequence[str]) -> list[Parameters]:
    """Return the same run once for each node image of a Kind cluster; itself when there is none."""
    if not node_images:
        return [parameters]
    settings = [parameters.settings.model_copy(update={"node_image": image}) for image in node_images]
    names = [parameters.run, *(f"{parameters.run}-{number}" for number in range(2, len(settings) + 1))]
    return [
        parameters.model_copy(update={"settings": each, "run": name})
        for each, name in zip(settings, names, strict=True)
    ]
