"""Telling people of a run; a failure to do so is a warning and changes nothing."""

from dataclasses import replace

from kvsync.ci.archive.archive import open_archive
from kvsync.ci.handover.handover import Handover, Log
from kvsync.ci.notify.people import about_run, send
from kvsync.testing.results.outcome import Outcome

LOOKBACK = 200


def tell_people(handover: Handover, log: Log) -> Handover:
    """Tell people, once, of a run that got worse, or was scheduled and did not pass."""
    run, report, urls = handover.run, handover.report, handover.run.settings.notify.urls
    notified = run.folder.notified
    if report.verdict is Outcome.PASSED or not urls or notified.exists():
        return handover
    try:
        with open_archive(run.settings, run.parameters.report_dir) as archive:
            earlier = archive.series(scope=archive.scope(report.parameters), limit=LOOKBACK)
        message = about_run(report, earlier, handover.comparison, handover.link)
        problem = send(message, urls) if message else ""
        if not problem:
            notified.touch()
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        log.warning("nobody was notified: %s", problem)
    return handover


def leave_people(handover: Handover, _: Log) -> Handover:
    """Leave telling people to another process, if there is anyone to tell."""
    return replace(handover, pending=handover.pending or bool(handover.run.settings.notify.urls))
