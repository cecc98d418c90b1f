"""The results of a run in the archive, and what is new in them."""

import os

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from kvsync.testing.archive import open_archive
from kvsync.testing.comparison import Comparison
from kvsync.testing.report import Report
from kvsync.testing.settings import load_settings
from tasks.parameters import REPOSITORY, Parameters


@task(name="archive", task_run_name="archive", cache_policy=NO_CACHE)
def archive_report(parameters: Parameters, report: Report) -> Comparison:
    """Compare a run with those before it, and keep it; whatever happens here, its verdict stands."""
    try:
        return compared(parameters, report)
    except Exception as error:
        get_run_logger().warning("this run is not in the archive: %s", error)
        # Short, since it is shown in public, and the names of hosts are not.
        return Comparison.impossible("the archive did not answer")


def compared(parameters: Parameters, report: Report) -> Comparison:
    """Compare a run and keep it, in the archive of the settings; ArchiveError or ConfigError otherwise."""
    with open_archive(load_settings(REPOSITORY, os.environ), parameters.report_dir) as archive:
        comparison = archive.compare(report)
        archive.record(report)
        return comparison


def known_tests(parameters: Parameters, stage: str) -> frozenset[str] | None:
    """Return the tests of a stage that the reference branch has, for a run that tests a proposed change.

    None for any other run, before the stage ran there, and where the archive does not answer: the stage runs
    as ever then.
    """
    if not (parameters.source and parameters.source.pull_request):
        return None
    try:
        with open_archive(load_settings(REPOSITORY, os.environ), parameters.report_dir) as archive:
            seen = archive.seen(archive.scope(parameters.model_dump(mode="json")))
    except Exception as error:
        get_run_logger().warning("new tests are not run more often: %s", error)
        return None
    return frozenset(name for each, name in seen if each == stage) or None
