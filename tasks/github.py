"""The stages of a run on GitHub, before the first one begins."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from kvsync.ci.handover.github import announce
from kvsync.ci.run.run import Run


def announce_stages(run: Run) -> None:
    """Show every stage as pending on the commit, so that none is missing when the run dies."""
    if run.settings.github.token:
        _announced(run, return_state=True)
    else:
        announce(run, get_run_logger())


@task(name="announce", task_run_name="announce", cache_policy=NO_CACHE)
def _announced(run: Run) -> None:
    announce(run, get_run_logger())
