"""The deployments of the pipeline, as values: what starts a run, what it does, how many run at a time.

Whatever must not be lost waits in line (ENQUEUE); only where the next one says as much as the one that is
still running is it dropped (CANCEL_NEW). Retries are in the tasks: what fails for infrastructure is tried
again there, a check never is.
"""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from kvsync.ci.concealment import NOTHING, concealed
from kvsync.ci.run.parameters import REPOSITORY, Parameters
from kvsync.ci.settings import PREFIX, RepositorySettings, Settings
from tasks.lateness import late_tag

FLOW = "pipeline"

ENTRYPOINT = "flows.pipeline.run_pipeline"
"""Dotted: by the path of its file the flow would be another object, in a module of another name."""

TAG = "kvsync-ci"
"""Marks our deployments: one of the flow that has this tag and is not in the catalogue is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One way to start the pipeline. `limit`: runs at a time; `cron`: when it starts by itself, in UTC.

    `image`: what a run's container is made of, in a pool that is not one of processes. `late_after_h`: hours
    after which a run that was due is skipped, so that those of days without a worker do not pile up.
    """

    name: str
    description: str
    parameters: Parameters
    limit: int
    collision: Literal["ENQUEUE", "CANCEL_NEW"] = "ENQUEUE"
    cron: str = ""
    late_after_h: int = 0
    pool: str
    image: str = ""

    @property
    def tags(self) -> list[str]:
        """What its runs are also marked with."""
        late = [late_tag(self.late_after_h)] if self.late_after_h else []
        return [TAG, f"trigger:{self.parameters.trigger}", *late]


def catalogue(report_dir: Path, settings: Settings) -> tuple[Deployment, ...]:
    """Return every deployment there should be; their runs leave their folders in `report_dir`.

    None names stages: which are part of such a run, the tested repository says (`when` in stages.toml).
    """
    serve = settings.serve
    here = partial(Deployment, pool=serve.pool, image=serve.image)
    quick = Parameters(report_dir=report_dir, settings=settings.cluster)
    night = Parameters.checked(
        report_dir=report_dir,
        settings=settings.cluster,
        profile="full",
        cluster=serve.cluster,
        trigger="schedule",
    )
    return (
        here(
            name="commit",
            description="A commit on a followed branch: the stages that its repository has for pushes.",
            parameters=quick.model_copy(update={"trigger": "push"}),
            limit=2,
        ),
        here(
            name="pull-request",
            description="A pull request: the stages that its repository has for those.",
            parameters=quick.model_copy(update={"trigger": "pull-request"}),
            limit=2,
        ),
        here(
            name="nightly",
            description="Every night: the stages that the repository has for nights, with real durations.",
            parameters=night.model_copy(update={"schedule": "nightly"}),
            limit=1,
            cron="0 3 * * *",
            late_after_h=24,
        ),
        here(
            name="weekly",
            description="Every Monday: likewise, with what it has only for weeks, such as faults.",
            parameters=night.model_copy(update={"schedule": "weekly"}),
            limit=1,
            collision="CANCEL_NEW",
            cron="0 2 * * 1",
            late_after_h=7 * 24,
        ),
        here(
            name="adhoc",
            description="By hand: choose stages, profile and cluster.",
            parameters=quick,
            limit=4,
        ),
        *(
            each
            for name, repository in settings.repositories.items()
            for each in _followed(name, repository, here, quick, night)
        ),
    )


def _followed(
    name: str,
    repository: RepositorySettings,
    here: Callable[..., Deployment],
    quick: Parameters,
    night: Parameters,
) -> Iterator[Deployment]:
    """Yield the deployments of a configured repository, which start by themselves."""
    what = f"{repository.branch} of {repository.url}"
    for schedule, cron, late_after_h in (
        ("nightly", repository.nightly, 24),
        ("weekly", repository.weekly, 7 * 24),
    ):
        if cron:
            yield here(
                name=f"{schedule}-{name}",
                description=f"{what}: the stages that it has for {schedule} runs, with real durations.",
                parameters=night.model_copy(update={"schedule": schedule, "follows": name}),
                limit=1,
                cron=cron,
                late_after_h=late_after_h,
            )
    if repository.follow:
        yield here(
            name=f"follow-{name}",
            description=f"{what}, whenever it has moved on: the stages that it has for pushes.",
            parameters=quick.model_copy(update={"trigger": "push", "follows": name}),
            limit=1,
            collision="CANCEL_NEW",
            cron=repository.follow,
            late_after_h=1,
        )


def job_variables(image: str, report_dir: Path, repository: Path = REPOSITORY) -> dict[str, object]:
    """Return what a run's process is started with: the repository's packages come before strays of that name.

    Where Prefect finds uv it would install the repository's dependencies again; they are installed already. A
    worker gives containers its own PREFECT_HOME, which need not be there. A container is the box of its run.
    A process is concealed at once: Prefect's worker hands secrets down in the environment.
    """
    env = {"PYTHONPATH": str(repository), "PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false"}
    if image:
        env |= {"PREFECT_HOME": str(report_dir / ".prefect"), f"{PREFIX}BOX_KIND": "container"}
        return {"env": env, "image": image}
    return {"env": env, "command": shlex.join(concealed(NOTHING, "prefect.engine"))}


def pull_steps(repository: Path = REPOSITORY) -> list[dict[str, object]]:
    """Return how a worker gets the code: it is there already. Without a step Prefect would copy it."""
    return [{"prefect.deployments.steps.set_working_directory": {"directory": str(repository)}}]
