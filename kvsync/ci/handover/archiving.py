"""The results of a run in the archive, and what is new in them."""

from dataclasses import replace

from kvsync.ci.archive.archive import open_archive
from kvsync.ci.archive.comparison import RunComparison
from kvsync.ci.archive.trends import trends_of
from kvsync.ci.handover.handover import Handover, Log
from kvsync.ci.page.page import write_page
from kvsync.ci.run.run import Run
from kvsync.errors import KVSyncError
from kvsync.testing.results.measurement import read_measurements


def archive(handover: Handover, log: Log) -> Handover:
    """Compare a run with those before it, keep it in the archive, and write the page that says what changed.

    An archive that does not answer is a warning: the page is written all the same, and the verdict stands.
    """
    run, report = handover.run, handover.report
    comparison, trends = RunComparison.impossible("the archive did not answer"), None
    try:
        with open_archive(run.settings, run.parameters.report_dir) as opened:
            comparison = opened.compare(report)
            opened.record(report, read_measurements(run.folder.path / "benchmark.json"))
            trends = trends_of(opened, report)
    except Exception as error:
        # Only here: the page is public, and the names of hosts are not.
        log.warning("this run is not in the archive: %s", error)
    write_page(report, run.folder.path, comparison=comparison, trends=trends)
    return replace(handover, comparison=comparison)


def known_tests(run: Run, stage: str, log: Log) -> frozenset[str] | None:
    """Return the tests of a stage that the reference branch has, for a run that tests a proposed change.

    None for any other run, before the stage ran there, and if the archive does not answer: the stage then
    runs as usual.
    """
    parameters = run.parameters
    if not (parameters.source and parameters.source.pull_request):
        return None
    try:
        with open_archive(run.settings, parameters.report_dir) as opened:
            return opened.seen(opened.scope(parameters.model_dump(mode="json")), stage) or None
    except Exception as error:
        log.warning("new tests are not run more often: %s", error)
        return None


def expected_s(run: Run, stage: str) -> float | None:
    """Return how many seconds a stage will take; None if the archive does not know."""
    parameters = run.parameters
    try:
        with open_archive(run.settings, parameters.report_dir) as opened:
            return opened.eta([stage], opened.scope(parameters.model_dump(mode="json"))).get(stage)
    except KVSyncError:
        return None
