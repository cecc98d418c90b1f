"""What a run left behind, and its end."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from kvsync.ci.cleaning.residue import sweep
from kvsync.ci.stages.stage import StageContext, keep_result
from kvsync.testing.results.outcome import StageResult


@task(name="residue", task_run_name="residue", cache_policy=NO_CACHE)
def clean_up(context: StageContext, *, keep: bool) -> StageResult:
    """Remove what the stages left; having found anything is a result that the report shows."""
    result = sweep(context.ledger, keep=keep)
    return keep_result(result, context)
