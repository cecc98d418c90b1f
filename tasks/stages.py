"""The task that runs a stage."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from kvsync.testing.outcome import Outcome, StageResult
from kvsync.testing.stage import StageContext, run_safely
from tasks.catalogue import STAGES


@task(name="stage", task_run_name="{name}", cache_policy=NO_CACHE)
def run_stage(name: str, context: StageContext) -> StageResult:
    """Run one stage; the result is a value, whatever happens, and is on disk before it is returned."""
    result = run_safely(STAGES[name], context)
    log = get_run_logger()
    log.log(_LEVELS[result.outcome], "%s", result.summary())
    return result


_LEVELS = {Outcome.PASSED: 20, Outcome.UNKNOWN: 30, Outcome.FAILED: 40}
