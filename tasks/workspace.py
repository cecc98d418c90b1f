"""The commit that a run tests."""

import os

from prefect import task
from prefect.cache_policies import NO_CACHE

from kvsync.errors import ClusterError
from kvsync.testing.outcome import Outcome, StageResult
from kvsync.testing.quarantine import keep_quarantine
from kvsync.testing.settings import load_settings
from kvsync.testing.stage import StageContext, run_safely
from kvsync.testing.workspace import WorkspaceStage
from tasks.parameters import REPOSITORY, Source


@task(name="workspace", task_run_name="workspace", retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def check_out(source: Source, context: StageContext) -> StageResult:
    """Fetch the commit for the run; tried three times, since networks have bad moments.

    The result is in the run's folder, also of a failure, which is raised for Prefect to try again. Only a
    trusted source is fetched with our token, and only from the server that the token belongs to.
    """
    settings = load_settings(REPOSITORY, os.environ)
    ours = source.trusted and source.url.startswith(f"{settings.github.web_url}/")
    token = settings.github.token.get_secret_value() if ours else ""
    result = run_safely(WorkspaceStage(source.url, source.commit, token), context)
    if result.outcome is not Outcome.PASSED:
        raise ClusterError(result.reason)
    keep_quarantine(context.repository, settings.archive.quarantine, context.run_dir)
    return result
