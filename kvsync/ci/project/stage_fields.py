"""What all kinds of stages have in `stages.toml`. Pure."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from kvsync.ci.project.values import (
    DEFAULT_TIMEOUT_S,
    Part,
    Profile,
    Schedule,
    Seconds,
    StageName,
    Trigger,
    Variables,
    several,
)


class When(Part):
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
        tuple[str, ...], BeforeValidator(several, json_schema_input_type=str | tuple[str, ...])
    ] = ()
    """Of pull requests, only those that change one of these (patterns as in .gitignore files)."""


class StageFields(Part):
    """What every stage has."""

    needs: Annotated[
        tuple[StageName, ...], BeforeValidator(several, json_schema_input_type=str | tuple[str, ...])
    ] = ()
    """Stages that have to pass first: they are part of every run that has this one, which is else not run.
    Services that it gets, fresh and empty, while it runs."""
    after: Annotated[
        tuple[StageName, ...], BeforeValidator(several, json_schema_input_type=str | tuple[str, ...])
    ] = ()
    """Stages that go first where a run has both."""
    timeout: Seconds = DEFAULT_TIMEOUT_S
    """How long it may take: seconds, or a text such as "90s", "10m" or "2h". The owner may allow less."""
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

    @property
    def every_value(self) -> dict[str, tuple[str, ...]]:
        """The values of which each combination is a stage of its own."""
        return self.matrix


class TestingStageFields(StageFields):
    """What a stage has that runs tests."""

    retries: Literal[0, 1] = 0
    """Whether what failed is tried once more, for at most five tests or 2 % of a run."""
    workers: PositiveInt | None = None
    """How many processes share the tests."""
