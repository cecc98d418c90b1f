"""The stages of a run on GitHub, before the first one begins."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from kvsync.ci.handover.github import announce
from kvsync.ci.run.run import Run


@task(name="announce", task_run_name="announce", cache_policy=NO_CACHE)
def announce_stages(run: Run) -> None:
    """Show every stage as pending on the commit, so that none is missing when the run dies."""
    announce(run, get_run_logger())
