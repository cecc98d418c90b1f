"""The stages of the pipeline, and the task that runs one."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from kvsync.testing.outcome import Outcome, StageResult
from kvsync.testing.pytest_stage import PytestStage
from kvsync.testing.stage import Stage, StageContext, run_safely

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        PytestStage("unit", folder="unit", timeout_s=120),
        PytestStage("integration", folder="integration", timeout_s=300),
        PytestStage("property", folder="property", timeout_s=300),
        PytestStage("e2e", folder="e2e", timeout_s=1800),
        PytestStage("benchmark", folder="benchmark", timeout_s=900),
        PytestStage("chaos", folder="chaos", timeout_s=3600),
    )
}
"""In the order of a run: what is cheap and says most goes first. A stage runs the folder of its name."""

CLUSTERS = ("local",)


@task(name="stage", task_run_name="{name}", cache_policy=NO_CACHE)
def run_stage(name: str, context: StageContext) -> StageResult:
    """Run one stage; the result is a value, whatever happens, and is on disk before it is returned."""
    result = run_safely(STAGES[name], context)
    log = get_run_logger()
    log.log(_LEVELS[result.outcome], "%s", result.summary())
    return result


_LEVELS = {Outcome.PASSED: 20, Outcome.UNKNOWN: 30, Outcome.FAILED: 40}
