"""The end of a run that could not see to it itself: nothing is left behind, and what is known is reported."""

import logging
from typing import TYPE_CHECKING

from kvsync.ci.cleaning.residue import clear, find
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.run import Run
from kvsync.ci.run_folder import RunFolder
from kvsync.testing.processes.ledger import Ledger

if TYPE_CHECKING:
    from kvsync.ci.handover.roads import Road


def remove_leftovers(parameters: Parameters) -> list[str]:
    """Remove what the run left, unless it is to be kept; returns what stays, and why."""
    if parameters.keep:
        return []
    ledger = Ledger(RunFolder(parameters.run_dir).ledger, run=parameters.run)
    fates = clear(find(ledger.path), ledger)
    return [f"{line}: not removed: {why}" for line, why in fates.items() if why]


def settle(run: Run, broken: str, road: "Road" = "full") -> Report:
    """Return the run's report, handed over along a road if it was not yet; a run without one is `broken`."""
    folder = run.folder
    if folder.told.exists():
        return Report.read(folder.report)
    # Imported here: this takes long, and most runs see to their end themselves.
    from kvsync.ci.handover.handover import Handover, hand_over
    from kvsync.ci.handover.roads import ROADS
    from kvsync.ci.run.judgement import judge

    report = Report.read(folder.report) if folder.report.exists() else judge(run, broken=broken)
    hand_over(Handover(run=run, report=report), ROADS[road], logging.getLogger(__name__))
    return report
