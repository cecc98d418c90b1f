"""The results of a run in the archive, and what is new in them."""

import logging
import os

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from kvsync.ci.archive import open_archive
from kvsync.ci.archive.comparison import RunComparison
from kvsync.ci.archive.trends import trends_of
from kvsync.ci.page.page import write_page
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import REPOSITORY, Parameters
from kvsync.ci.settings import load_settings
from kvsync.testing.results.measurement import read_measurements

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


@task(name="archive", task_run_name="archive", cache_policy=NO_CACHE)
def archive_report(parameters: Parameters, report: Report) -> RunComparison:
    """Compare a run with those before it, keep it, and write its page; its verdict stands, come what may."""
    return compared(parameters, report, get_run_logger())


def compared(parameters: Parameters, report: Report, log: Log) -> RunComparison:
    """Compare a run, keep it in the archive of the settings, and write the page that says what changed.

    An archive that does not answer is a warning; the page is written all the same.
    """
    comparison, trends = RunComparison.impossible("the archive did not answer"), None
    try:
        with open_archive(load_settings(REPOSITORY, os.environ), parameters.report_dir) as archive:
            comparison = archive.compare(report)
            archive.record(report, read_measurements(parameters.run_dir / "benchmark.json"))
            trends = trends_of(archive, report)
    except Exception as error:
        # Only here: the page is public, and the names of hosts are not.
        log.warning("this run is not in the archive: %s", error)
    write_page(report, parameters.run_dir, comparison=comparison, trends=trends)
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
