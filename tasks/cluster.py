"""The cluster of a run: made once, before the first stage that needs one, and deleted at the end."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from kvsync.ci.cluster_settings import ClusterChoice
from kvsync.ci.provision.cluster_stage import ClusterStage, give_back, made_for_run
from kvsync.ci.run.run import Run
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.errors import ClusterError
from kvsync.testing.results.outcome import Outcome, StageResult


@task(name="cluster", task_run_name="cluster", retries=1, retry_delay_seconds=5, cache_policy=NO_CACHE)
def create_cluster(run: Run, context: StageContext) -> StageResult:
    """Make the cluster that the run asks for; tried twice, since daemons and registries have bad moments.

    The result is in the run's folder, also of a failure, which is raised for Prefect to try again.
    """
    choice = ClusterChoice.parse(run.parameters.cluster)
    stage = ClusterStage(choice, run.cluster_settings, run.parameters.reuse, run.needs_image, run.pod_images)
    result = run_safely(stage, context)
    if result.outcome is not Outcome.PASSED:
        raise ClusterError(result.reason)
    return result


def give_back_all(context: StageContext) -> None:
    """Delete the cluster and the workspace that were made for the run, if there are any."""
    if made_for_run(context.ledger):
        _given_back(context, return_state=True)


@task(name="give back", task_run_name="give back", retries=1, cache_policy=NO_CACHE)
def _given_back(context: StageContext) -> None:
    give_back(context.ledger)
