"""Who has to hear of a run is told; that this fails is a warning and changes nothing."""

import logging
import os

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from kvsync.ci.archive import open_archive
from kvsync.ci.archive.comparison import RunComparison
from kvsync.ci.notify.people import about_run, send
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import REPOSITORY, Parameters
from kvsync.ci.run_folder import RunFolder
from kvsync.ci.settings import load_settings
from kvsync.testing.results.outcome import Outcome

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]

LOOKBACK = 200


@task(name="notify", task_run_name="notify", cache_policy=NO_CACHE)
def notify_run(parameters: Parameters, report: Report, comparison: RunComparison | None, link: str) -> None:
    """Tell people of a run; see tell_people."""
    tell_people(parameters, report, comparison, link, get_run_logger())


def tell_people(
    parameters: Parameters, report: Report, comparison: RunComparison | None, link: str, log: Log
) -> None:
    """Tell people, once, of a run that got worse, or was scheduled and did not pass; without URLs nobody."""
    notified = RunFolder(parameters.run_dir).notified
    try:
        settings = load_settings(REPOSITORY, os.environ)
        if report.verdict is Outcome.PASSED or not settings.notify.urls or notified.exists():
            return
        with open_archive(settings, parameters.report_dir) as archive:
            earlier = archive.series(scope=archive.scope(report.parameters), limit=LOOKBACK)
        message = about_run(report, earlier, comparison, link)
        problem = send(message, settings.notify.urls) if message else ""
        if not problem:
            notified.touch()
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        log.warning("nobody was notified: %s", problem)
