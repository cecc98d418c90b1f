"""The end of a run that could not see to it by itself: an empty floor, and a report of what is known."""

import logging

from kvsync.ci.cleaning.residue import clear, find
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run_folder import RunFolder
from kvsync.testing.processes.ledger import Ledger


def empty_floor(parameters: Parameters) -> list[str]:
    """Remove what the run left, unless it is to be kept; returns what stays, and why."""
    if parameters.keep:
        return []
    ledger = Ledger(RunFolder(parameters.run_dir).ledger, run=parameters.run)
    fates = clear(find(ledger.path), ledger)
    return [f"{line}: not removed: {why}" for line, why in fates.items() if why]


def last_word(
    parameters: Parameters, broken: str, *, for_people: bool = True, hurried: bool = False
) -> Report:
    """Return the run's report, stored and told to GitHub and people; a run without one is `broken`.

    `for_people`: whether they have to hear of it, whose own doing it may be. `hurried`: give up soon where
    GitHub does not take it.
    """
    folder = RunFolder(parameters.run_dir)
    if folder.told.exists():
        return Report.read(folder.report)
    # Imported here: this takes long, and only a run that died is judged from outside.
    from tasks.archive import compared
    from tasks.github import tell_github
    from tasks.notify import tell_people
    from tasks.upload import stored

    from kvsync.ci.run.judgement import judge

    log = logging.getLogger(__name__)
    report = Report.read(folder.report) if folder.report.exists() else judge(parameters, broken=broken)
    comparison = compared(parameters, report, log)
    uploaded = stored(parameters, log)
    link = uploaded.public_url if uploaded else ""
    if for_people:
        tell_people(parameters, report, comparison, link, log)
    if tell_github(parameters, report, comparison, link, log, hurried=hurried):
        folder.told.touch()
    return report
