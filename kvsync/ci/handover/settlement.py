"""The end of a run that could not see to it itself: nothing is left behind, and what is known is reported."""

import errno
import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from kvsync.ci.cleaning.residue import clear, find
from kvsync.ci.report.report import Report
from kvsync.ci.run.parameters import Parameters
from kvsync.ci.run.run import Run
from kvsync.ci.run_folder import RunFolder
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.tools import ON_PATH, Tools
from kvsync.testing.results.outcome import Outcome, StageResult

if TYPE_CHECKING:
    from kvsync.ci.handover.roads import Road


FULL = (errno.ENOSPC, errno.EDQUOT)
"""How the system says that a disk, or a quota of it, is full."""


def remove_leftovers(parameters: Parameters, tools: Tools = ON_PATH) -> list[str]:
    """Remove what the run left, unless it is to be kept; returns what stays, and why.

    A run that ended by itself, and had left nothing after its stages, has made nothing in Docker since.
    """
    if parameters.keep:
        return []
    folder = RunFolder(parameters.run_dir)
    ledger, swept = Ledger(folder.ledger, run=parameters.run), folder.result("residue")
    was_clean = folder.told.exists() and swept is not None and swept.outcome is Outcome.PASSED
    fates = clear(find(ledger.path, tools, marked=() if was_clean else None), ledger, tools)
    return [f"{line}: not removed: {why}" for line, why in fates.items() if why]


def settle(run: Run, broken: str, road: "Road" = "full") -> Report:
    """Return the run's report, handed over along a road if it was not yet; a run without one is `broken`."""
    try:
        return _settle(run, broken, road)
    except OSError as exc:
        if exc.errno not in FULL:
            raise
        return settle_without_room(run)


def settle_without_room(run: Run) -> Report:
    """Return the report of a run whose disk is full; as much of it is kept as there is room for."""
    from kvsync.ci.run.judgement import compose, full_disk

    folder, parameters = run.folder, run.parameters
    with suppress(OSError):
        folder.give_room()
    why = StageResult.unknown("disk", full_disk(parameters.report_dir))
    bare = Report(
        run=parameters.run,
        started_at=why.started_at,
        duration_s=0.0,
        command=parameters.command,
        stages=(why,),
        parameters=parameters.model_dump(mode="json"),
        versions={},
        machine={},
    )
    if not folder.path.exists():
        return bare
    whole = compose(run)
    if "disk" not in [stage.name for stage in whole.stages]:
        whole = replace(whole, stages=(why, *whole.stages))
    for report in (whole, bare):
        with suppress(OSError):
            report.write(folder.report)
            break
    return whole


def _settle(run: Run, broken: str, road: "Road") -> Report:
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
