"""What the stages of a run need, made ready before the first of them."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from kvsync.ci.run.run import Run
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.errors import ClusterError
from kvsync.testing.results.outcome import Outcome, StageResult


@task(name="prepare", task_run_name="prepare", retries=1, retry_delay_seconds=5, cache_policy=NO_CACHE)
def prepare(run: Run, context: StageContext) -> StageResult:
    """Make ready what the stages need; tried twice, since package servers have bad moments.

    The result is in the run's folder, also of a failure, which is raised for Prefect to try again.
    """
    stage = run.preparation
    assert stage is not None
    result = run_safely(stage, context)
    if result.outcome is not Outcome.PASSED:
        raise ClusterError(result.reason)
    return result
