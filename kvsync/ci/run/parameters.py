"""What one run of the pipeline is asked to do."""

import re
import secrets
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from kvsync.ci.addresses import FETCHABLE
from kvsync.ci.cluster_settings import ClusterName, ClusterSettings
from kvsync.ci.project.choice import Occasion
from kvsync.ci.project.values import NAME, RESERVED, ProfileKind, Schedule, Trigger
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.stages.stage import LOCAL
from kvsync.errors import ConfigError
from kvsync.testing.results.whole import write_whole

REPOSITORY = Path(__file__).resolve().parents[3]
"""Where the pipeline itself lies."""

FULL_HASH = "^[0-9a-f]{40}$"


def new_run_id(at: datetime | None = None, unique: str = "") -> str:
    """Return an id that sorts by start time and is free of characters that shells, URLs or S3 keys mind.

    Of a flow run, `at` is the time of its creation and `unique` its own id, so that the flow run
    alone leads to the folder of the run.
    """
    return f"{at or datetime.now(UTC):%Y%m%d-%H%M%S}-{unique.replace('-', '')[:12] or secrets.token_hex(2)}"


class CommitSource(BaseModel):
    """The commit that a run tests: it is fetched into a workspace of its own.

    `ref` and everything else that a contributor names is text to be shown, never part of a command.
    An untrusted source (a fork's) gets no secrets, and no cluster but local processes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: Annotated[
        str,
        Field(
            description="Where git fetches it from, without a password: private repositories of the "
            "server in github.web_url are fetched with KVSYNC_CI_GITHUB_TOKEN",
            json_schema_extra={"pattern": FETCHABLE},
        ),
    ]
    commit: Annotated[
        str, Field(description="The full hash of the commit", json_schema_extra={"pattern": FULL_HASH})
    ]
    repository: Annotated[str, Field(pattern=r"^([\w.-]+/[\w.-]+)?$", description="owner/name on GitHub")] = (
        ""
    )
    ref: Annotated[str, Field(max_length=255, description="The branch, for people to read")] = ""
    pull_request: Annotated[int | None, Field(gt=0, description="Its number, if there is one")] = None
    trusted: Annotated[bool, Field(description="False for a fork: no secrets, no cluster, and a box")] = True
    base: Annotated[
        str,
        Field(
            max_length=255,
            description="The branch that it asks to be merged into, if it is not the repository's own",
            exclude_if=lambda base: not base,
        ),
    ] = ""
    author: Annotated[
        str,
        Field(
            max_length=255,
            description="Who proposed or pushed it, as GitHub calls them, for people to read",
            exclude_if=lambda author: not author,
        ),
    ] = ""

    @field_validator("url")
    @classmethod
    def _holds_no_secret(cls, url: str) -> str:
        """Refuse what would be in every log, report and database; the message does not repeat it."""
        if not re.fullmatch(FETCHABLE, url):
            raise ValueError(
                "give what git can fetch from, without password, token or query: https://HOST/PATH, "
                "ssh://, git@HOST:PATH, file:/// or a folder; private repositories are fetched with "
                "KVSYNC_CI_GITHUB_TOKEN"
            )
        return url

    @field_validator("commit")
    @classmethod
    def _names_one_commit(cls, commit: str) -> str:
        if not re.fullmatch(FULL_HASH, commit):
            raise ValueError("give the full hash of a commit, 40 hexadecimal digits")
        return commit

    @property
    def gates_itself(self) -> bool:
        """Whether what gates it is its own: it neither asks to be merged nor comes from a fork."""
        return self.trusted and not self.pull_request and not self.base

    @property
    def gate(self) -> str:
        """What git fetches the gate from, at `url`; "" if that is nowhere else."""
        if self.base:
            return f"refs/heads/{self.base}"
        return "HEAD" if self.pull_request else ""


class Repeat(BaseModel):
    """Another attempt at a run that there is: what it repeats, and with which code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempt: Annotated[int, Field(ge=2, description="Which attempt at the run this is")]
    stages: Annotated[tuple[str, ...], Field(description="The stages to repeat; none: all")]
    failed_only: Annotated[bool, Field(description="Repeat only the tests that did not pass")] = False
    other_code: Annotated[str, Field(description="The code, where it is not that of the first attempt")] = ""


class Parameters(BaseModel):
    """The parameters of a run; a run is repeated by giving the same ones again."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    trigger: Annotated[
        Trigger | Literal["ingest"],
        Field(description="What started the run; ingest: another CI ran it, and its results were read"),
    ] = "manual"
    stages: Annotated[
        tuple[Annotated[str, Field(max_length=60, json_schema_extra={"pattern": NAME})], ...],
        Field(description="Stages to run, by their names in stages.toml; none: those that it says"),
    ] = ()
    profile: Annotated[
        Literal["quick", "full"],
        Field(description="quick: minutes, for every change. full: real durations and sizes, for the night."),
    ] = "quick"
    cluster: Annotated[
        ClusterName,
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
    repository: Annotated[Path, Field(description="The folder that is tested")] = REPOSITORY
    profilers: Annotated[
        dict[Annotated[str, Field(pattern=NAME)], ProfileKind],
        Field(
            description="Stages that keep a page about where their program's time or memory went",
            exclude_if=lambda profilers: not profilers,
        ),
    ] = {}
    keep: Annotated[bool, Field(description="End a stage at a failure, leave that cluster alive")] = False
    source: Annotated[
        CommitSource | None,
        Field(description="The commit to test; without one, the repository as it lies here"),
    ] = None
    follows: Annotated[
        str,
        Field(
            pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$",
            description="The repository in kvsync-ci.toml whose branch is tested as it is now",
            exclude_if=lambda follows: not follows,
        ),
    ] = ""
    schedule: Annotated[Schedule | None, Field(description="Which schedule started the run, if one did")] = (
        None
    )
    repeat: Annotated[
        Repeat | None, Field(description="Set by kvsync-ci rerun: another attempt at a run that there is")
    ] = None
    run: Annotated[
        str,
        Field(pattern=r"^([a-z0-9][a-z0-9-]*)?$", description="The id of the run; made up when it is empty"),
    ] = ""

    @field_validator("stages")
    @classmethod
    def _named_once(cls, stages: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Check names by the trigger, which therefore is the first field."""
        if info.data.get("trigger") == "ingest":
            problems = [ingested_name(name) for name in stages]
        else:
            rule = "no stage can be called so; names have small letters, digits and . _ -"
            problems = [f"{name!r}: {rule}" for name in stages if not re.fullmatch(NAME, name)]
        if any(problems):
            raise ValueError("; ".join(filter(None, problems)))
        return tuple(dict.fromkeys(stages))

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

    @model_validator(mode="after")
    def _forks_stay_local(self) -> Self:
        if self.source and not self.source.trusted and self.cluster != LOCAL:
            raise ValueError(f"a fork's code runs on local processes only, not on {self.cluster}")
        return self

    def named(self, run: str) -> Self:
        """Return the same parameters for a run of this id, unless they have one."""
        return self if self.run else self.model_copy(update={"run": run})

    @property
    def title(self) -> str:
        """What lists of runs show: the trigger, the commit, the pull request and the id of the run."""
        source = self.source
        commit = source.commit[:10] if source else ""
        number = f"#{source.pull_request}" if source and source.pull_request else ""
        attempt = f"attempt {self.repeat.attempt}" if self.repeat else ""
        return " ".join(filter(None, [self.trigger, commit, number, self.run, attempt]))

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

    @classmethod
    def of(cls, folder: RunFolder) -> Self:
        """Read the parameters that the folder of a run keeps.

        Raises OSError if there are none, and pydantic's ValidationError for what cannot be read.
        """
        return cls.model_validate_json(folder.parameters.read_bytes())

    def keep_in(self, folder: RunFolder) -> None:
        """Write the parameters into the folder of the run; a reader sees all of them or none."""
        write_whole(folder.parameters, self.model_dump_json(indent=1))

    @property
    def is_ingested(self) -> bool:
        """Whether another CI ran it: its results were read, and nothing of it can be run here."""
        return self.trigger == "ingest"

    @property
    def run_dir(self) -> Path:
        """The folder that holds everything this run leaves."""
        return self.report_dir / self.run

    @property
    def checkout(self) -> Path:
        """The folder that is tested: the commit's own, or the repository as it lies."""
        return self.run_dir / "workspace" if self.source else self.repository

    @property
    def due(self) -> tuple[str, ...]:
        """The stages that are run now; `stages` are all that the report has."""
        return (self.repeat.stages if self.repeat else ()) or self.stages

    @property
    def occasion(self) -> Occasion:
        """What kind of run it is, by which a repository says what is part of it."""
        assert self.trigger != "ingest"  # another CI ran it
        return Occasion(
            profile=self.profile,
            trigger=self.trigger,
            schedule=self.schedule,
            trusted=not self.source or self.source.trusted,
        )

    @property
    def command(self) -> str:
        """The command line that repeats this run, or reads the results of another CI again."""
        if self.is_ingested:
            return shlex.join(self._ingest_words)
        words = ["kvsync-ci", "run", *self.stages, "--profile", self.profile, "--cluster", self.cluster]
        words += ["--seed", str(self.seed)]
        words += ["--reuse", self.reuse] if self.reuse else []
        if self.cluster == "kind" and self.settings.node_image:
            words += ["--node-image", self.settings.node_image]
        if self.source:
            words += ["--source", f"{self.source.url}@{self.source.commit}"]
            words += [] if self.source.trusted else ["--untrusted"]
        else:
            words += ["--repository", str(self.repository)]
        if self.trace:
            words += ["--trace", str(self.trace)]
        for name, kind in self.profilers.items():
            words += ["--profiler", f"{name}={kind}"]
        return shlex.join(words)

    @property
    def _ingest_words(self) -> list[str]:
        words = ["kvsync-ci", "ingest", str(RunFolder(self.run_dir).ingested), "--stage", *self.stages]
        if source := self.source:
            words += ["--repository", source.repository or source.url, "--commit", source.commit]
            words += ["--branch", source.ref] if source.ref else []
            words += ["--pull-request", str(source.pull_request)] if source.pull_request else []
            words += [] if source.trusted else ["--untrusted"]
        elif self.repository != REPOSITORY:
            words += ["--repository", str(self.repository)]
        return words


def ingested_name(stage: str) -> str:
    """Return what is wrong with the name of a stage that another CI ran; "" if it can be one."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", stage):
        return f"stage {stage[:80]!r}: letters, digits, dots, dashes and underscores, 80 at most, are needed"
    return f"stage {stage!r}: the pipeline's own report has a part of this name" if stage in RESERVED else ""


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
